/** What README and docs tell people to type is something that the command line takes. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, jest, test } from '@jest/globals';
import { Command } from 'commander';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const DOCUMENTS = ['README.md', ...readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' }).map((name) => join('docs', name))]
  .filter((path) => path.endsWith('.md'))
  .map((path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }));

/** How a command line of ours begins, wherever it runs. */
const BEGINNING = /^(?:npm run (?:--silent )?bill -- |npx bill |docker compose run --rm bill |bill )(.+)$/;
const START = /^npm start(?: -- (.+))?$/;

type Typed = { path: string; line: string };

/** What stands in blocks of their own, for people to copy. */
const COPIED: Typed[] = DOCUMENTS.flatMap(({ path, text }) =>
  [...text.matchAll(/^```\w*\n(.*?)^```/gms)].flatMap(([, block = '']) =>
    block.split('\n').flatMap((typed) => {
      const line = typed.replace(/\s+#.*$/, '').trim();
      return BEGINNING.test(line) || START.test(line) ? alternatives(line).map((each) => ({ path, line: each })) : [];
    }),
  ),
);

/** What a sentence or a table names, which may leave arguments out. */
const NAMED: Typed[] = DOCUMENTS.flatMap(({ path, text }) =>
  [...text.matchAll(/`([^`\n]+)`/g)].flatMap(([, line = '']) => (BEGINNING.test(line) || START.test(line) ? [{ path, line }] : [])),
);

/** `--grant | --refund "reason"` stands for two commands. */
function alternatives(line: string): string[] {
  const [choice] = /--\S+(?: \| --\S+)+/.exec(line) ?? [];
  return choice === undefined ? [line] : choice.split(' | ').map((option) => line.replace(choice, option));
}

/** The words of a command line as a shell gives them on; what stands for something else is one word. */
function wordsOf(typed: string): string[] {
  // What another program does with the output is not ours.
  const line = typed.replace(/ \| (?!--).*$/, '');
  const [, started] = START.exec(line) ?? [];
  const rest = START.test(line) ? `dev ${started ?? ''}` : (BEGINNING.exec(line)?.[1] ?? '');
  const words =
    rest
      .replace(/<[^>]*>/g, 'PLACEHOLDER')
      .replace(/\[(--[^\]]*)\]/g, '$1')
      .match(/"[^"]*"|'[^']*'|\S+/g) ?? [];
  return words.map((word) => word.replace(/^["']|["']$/g, ''));
}

/** The tree that main.ts builds, whose commands do nothing. */
async function commandLine(): Promise<Command> {
  let built: Command | undefined;
  const parsing = jest.spyOn(Command.prototype, 'parseAsync').mockImplementation(function (this: Command) {
    built = this;
    return Promise.resolve(this);
  });
  await import('../../../src/cli/main.ts');
  parsing.mockRestore();
  if (!built) throw new Error('main.ts has parsed nothing');
  const disarm = (command: Command) => {
    command.exitOverride().configureOutput({ writeErr: () => {}, writeOut: () => {} });
    // `recharges` lists by itself, and has `recharges show` below it. commander tells of no action by name.
    if ((command as unknown as { _actionHandler: unknown })._actionHandler) command.action(() => {});
    for (const each of command.commands) disarm(each);
  };
  for (const command of built.commands) disarm(command);
  return built.exitOverride().configureOutput({ writeErr: () => {}, writeOut: () => {} });
}
const bill = await commandLine();

async function refusalOf(words: string[]): Promise<string | undefined> {
  return bill.parseAsync(words, { from: 'user' }).then(
    () => undefined,
    (error: Error) => error.message,
  );
}

test('the commands of the documents are found', () => {
  expect(COPIED.length).toBeGreaterThan(15);
  expect(NAMED.length).toBeGreaterThan(40);
});

test('the command line refuses what it does not know', async () => {
  expect(await refusalOf(['charge-everybody'])).toContain('unknown command');
  expect(await refusalOf(['recharges', '--everybody'])).toContain('unknown option');
  expect(await refusalOf(['org', 'nope'])).toBeDefined();
  expect(await refusalOf(['resolve'])).toBeDefined();
  expect(await refusalOf(['recharges', 'acme', '--json'])).toBeUndefined();
});

test.each(COPIED)('$line', async ({ line }) => {
  expect(await refusalOf(wordsOf(line))).toBeUndefined();
});

test('a sentence names commands and options that there are', () => {
  const unknown = NAMED.flatMap(({ path, line }) => {
    let command = bill;
    const words = wordsOf(line).flatMap((word) => word.split(/[·|]/).filter(Boolean));
    return words.flatMap((word) => {
      const below = command.commands.find((each) => each.name() === word);
      if (below) command = below;
      else if (command.commands.length > 0 && /^[a-z]+$/.test(word)) return [`${path}: ${line}: no command ${word}`];
      const option = /^--[a-z-]+/.exec(word)?.[0];
      const isKnown = option === undefined || option === '--help' || command.options.some(({ long }) => long === option);
      return isKnown ? [] : [`${path}: ${line}: no option ${option}`];
    });
  });
  expect(unknown).toEqual([]);
});
