/** Whoever has to act is told a command: each that the code or the docs name is one that there is. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from '@jest/globals';
import { settingEntries } from '../../../src/http/organization-settings.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

function filesIn(...folders: string[]): { path: string; text: string }[] {
  return folders
    .flatMap((folder) => readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name)))
    .filter((path) => /\.(ts|md)$/.test(path))
    .map((path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }));
}

const COMMANDS = new Set(
  filesIn('src/cli').flatMap(({ text }) => [...text.matchAll(/\.command\('([a-z]+)'\)/g)].map(([, command]) => command)),
);
const TEXTS = [...filesIn('src', 'activities', 'docs'), { path: 'README.md', text: readFileSync(join(ROOT, 'README.md'), 'utf8') }];

/** What is named so, with the file: the commands of a sentence, and not the words `bill` begins by chance. */
function named(pattern: RegExp): { path: string; name: string }[] {
  return TEXTS.flatMap(({ path, text }) => [...text.matchAll(pattern)].map(([, name = '']) => ({ path, name })));
}

test('commands are found where they are made', () => {
  expect(COMMANDS.size).toBeGreaterThan(20);
});

test('a command that is named exists', () => {
  const missing = named(/\bbill ([a-z]+)/g).filter(({ name }) => !COMMANDS.has(name));
  expect(missing).toEqual([]);
});

test('a flag of `bill org set` that is named exists', () => {
  const flags = new Set(settingEntries.map(([, { flag }]) => flag.split(' ')[0]));
  const found = named(/bill org set [^`'"\n]*?(--[a-z-]+)/g);
  expect(found.length).toBeGreaterThan(5);
  expect(found.filter(({ name }) => !flags.has(name))).toEqual([]);
});
