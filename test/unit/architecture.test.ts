/** Imports point inward: which room may import from which. Types may be imported from everywhere a value may not. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from '@jest/globals';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** A room, and the rooms whose values it may import. A room always includes itself. */
const MAY_IMPORT: Record<string, string[]> = {
  'src/domain': [],
  'src/database': ['src/domain'],
  'src/kms': ['src/domain', 'src/deadline.ts'],
  'src/payments': ['src/domain'],
  'src/notifications': ['src/domain'],
  'src/observability': [],
  'src/inbox': ['src/database', 'src/domain', 'src/deadline.ts'],
  'src/temporal': ['activities', 'workflows/contract.ts', 'src/domain'],
  'src/teams': ['src/database', 'src/kms', 'src/domain'],
  'src/http': ['src/inbox', 'src/teams', 'src/database', 'src/kms', 'src/payments', 'src/domain', 'src/deadline.ts'],
  'src/cli': [
    'src',
    'workflows/contract.ts',
    'src/database',
    'src/domain',
    'src/kms',
    'src/payments',
    'src/observability',
    'src/temporal',
    'sandbox',
  ],
  activities: ['src/teams', 'src/database', 'src/domain', 'src/kms', 'src/payments', 'src/notifications'],
  // Workflow code is deterministic: it sees rules and names, nothing that can do anything.
  workflows: ['src/domain', 'src/temporal/search-attributes.ts'],
  // Another company's servers.
  sandbox: ['setup'],
};

/** What workflow code may import from packages. */
const WORKFLOW_PACKAGES = ['@temporalio/workflow', '@temporalio/common'];
/** What the domain may import from anywhere: nothing that reaches outside the process. */
const DOMAIN_PACKAGES = ['node:crypto'];

const VALUE_IMPORT = /^(?:import|export)\s+(?!type\b)(?:[^'";]*?\sfrom\s+)?'([^']+)'/gm;

function filesOf(room: string): string[] {
  return readdirSync(join(ROOT, room), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(room, name));
}

/** Imports of values: those in which not every name is marked `type`. */
function importsOf(file: string): string[] {
  const source = readFileSync(join(ROOT, file), 'utf8');
  return [...source.matchAll(VALUE_IMPORT)].flatMap(([statement, target = '']) => {
    const names = /\{([^}]*)\}/.exec(statement)?.[1];
    const isOnlyTypes = names?.split(',').every((name) => name.trim() === '' || name.trim().startsWith('type '));
    return isOnlyTypes ? [] : [target];
  });
}

test.each(Object.entries(MAY_IMPORT))('%s imports only from %j', (room, allowed) => {
  const violations = filesOf(room).flatMap((file) =>
    importsOf(file)
      .filter((target) => target.startsWith('.'))
      .map((target) => relative(ROOT, join(ROOT, dirname(file), target)))
      .filter((target) => !isWithin(target, [room, ...allowed]))
      .map((target) => `${file} imports ${target}`),
  );
  expect(filesOf(room)).not.toEqual([]);
  expect(violations).toEqual([]);
});

function isWithin(target: string, rooms: string[]): boolean {
  // 'src' stands for the files directly in it, not for the rooms below.
  return rooms.some((room) => target === room || (room === 'src' ? dirname(target) === 'src' : target.startsWith(`${room}/`)));
}

test.each([
  ['workflows', WORKFLOW_PACKAGES],
  ['src/domain', DOMAIN_PACKAGES],
])('%s imports no package but %j', (room, packages) => {
  const foreign = filesOf(room).flatMap((file) =>
    importsOf(file).filter((target) => !target.startsWith('.') && !packages.includes(target)),
  );
  expect(foreign).toEqual([]);
});

test("Stripe's types and errors stay in src/payments; only the demonstration plays a customer of the stand-in", () => {
  const speakers = ['src', 'activities', 'workflows']
    .flatMap(filesOf)
    .filter((file) => /from 'stripe'/.test(readFileSync(join(ROOT, file), 'utf8')))
    .filter((file) => !file.startsWith('src/payments/'));
  expect(speakers).toEqual(['src/cli/dev/demonstration.ts']);
});
