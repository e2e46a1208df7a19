/** `bill completion`: completes commands and options in a shell, from the commands as they are. */
import { Argument, type Command } from 'commander';

type Shell = 'bash' | 'zsh';

export function addCompletionCommand(bill: Command): void {
  bill
    .command('completion')
    .addArgument(new Argument('<shell>').choices(['bash', 'zsh']))
    .description('a script that completes commands and options: source <(npx bill completion bash)')
    .action((shell: Shell) => console.log(completionFor(shell, bill)));
}

/** A script for the shell. A path of commands such as `org add` selects what may follow it. */
export function completionFor(shell: Shell, bill: Command): string {
  const paths = pathsOf(bill);
  const known = paths.filter(({ path }) => path !== '').map(({ path }) => `'${path}'`);
  const cases = paths.map(({ path, next }) => `    '${path}') next='${next.join(' ')}' ;;`);
  const [words, offer] = {
    bash: [`"\${COMP_WORDS[@]:1:COMP_CWORD-1}"`, `COMPREPLY=($(compgen -W "$next" -- "\${COMP_WORDS[COMP_CWORD]}"))`],
    zsh: [`"\${(@)words[2,CURRENT-1]}"`, `compadd -- \${=next}`],
  }[shell] as [string, string];
  return `_bill() {
  local path='' next='' word
  for word in ${words}; do
    case "\${path:+$path }$word" in
      ${known.join('|')}) path="\${path:+$path }$word" ;;
    esac
  done
  case "$path" in
${cases.join('\n')}
  esac
  ${offer}
}
${shell === 'bash' ? 'complete -F _bill bill' : 'compdef _bill bill'}`;
}

/** Every path of commands, with the commands and options that may follow it. */
function pathsOf(command: Command, path = ''): { path: string; next: string[] }[] {
  const options = [...command.options.flatMap(({ long }) => long ?? []), '--help'];
  return [
    { path, next: [...command.commands.map((each) => each.name()), ...options] },
    ...command.commands.flatMap((each) => pathsOf(each, path ? `${path} ${each.name()}` : each.name())),
  ];
}
