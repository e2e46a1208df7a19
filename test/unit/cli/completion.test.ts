/** Shell completion, made from the commands as they are. */
import { execFileSync } from 'node:child_process';
import { expect, test } from '@jest/globals';
import { Command } from 'commander';
import { addCompletionCommand, completionFor } from '../../../src/cli/commands/completion.ts';

const bill = new Command('bill');
const org = bill.command('org');
org.command('set').argument('<id>').option('--minimum <dollars>').option('--json');
org.command('list').option('--json');
bill.command('status');
addCompletionCommand(bill);

/** What bash offers after these words, the last of which is being typed. */
function offered(...words: string[]): string[] {
  const ask = `COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _bill; printf "%s\\n" "\${COMPREPLY[@]}"`;
  const out = execFileSync('bash', ['-c', `${completionFor('bash', bill)}\n${ask}`, 'bash', ...words], { encoding: 'utf8' });
  return out.split('\n').filter(Boolean);
}

test.each<[string[], string[]]>([
  [
    ['bill', ''],
    ['org', 'status', 'completion', '--help'],
  ],
  [['bill', 'st'], ['status']],
  [
    ['bill', 'org', ''],
    ['set', 'list', '--help'],
  ],
  [['bill', 'org', 'set', 'acme', '--m'], ['--minimum']],
  [
    ['bill', 'org', 'set', '--json', 'acme', '--'],
    ['--minimum', '--json', '--help'],
  ],
  [['bill', 'nope', 'o'], ['org']],
])('bash is offered, after %j, %j', (words, expected) => {
  expect(offered(...words)).toEqual(expected);
});

test('zsh gets the same paths, with its own way to offer them', () => {
  const script = completionFor('zsh', bill);
  expect(script).toContain("'org set') next='--minimum --json --help' ;;");
  expect(script).toMatch(/compadd -- \$\{=next\}\n\}\ncompdef _bill bill$/);
});
