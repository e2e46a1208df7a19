/** docs/policy.md has every refusal and every limit, in the words and with the defaults of the code. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { ATTEMPTS_WINDOW_MS, MAX_FAILED_ATTEMPTS, pauseAfter } from '../../src/domain/attempts.ts';
import { DECLINE_RULES } from '../../src/domain/decline.ts';
import { HOLDS } from '../../src/domain/hold.ts';
import { DEFAULT_TARGETS } from '../../src/domain/limits.ts';
import { REFUSALS } from '../../src/domain/policy.ts';
import { NORMAL_AFTER_MS, NORMAL_TIMES, SERIES } from '../../src/domain/runaway.ts';
import { settingEntries } from '../../src/http/organization-settings.ts';

const DAY_MS = 24 * 60 * 60_000;

const doc = readFileSync(fileURLToPath(new URL('../../docs/policy.md', import.meta.url)), 'utf8');

/** The rows of the table with this heading, the first cell without its backquotes. */
function table(heading: string): string[][] {
  const [, rows = ''] = doc.split(`${heading}\n`);
  const lines = rows.trimEnd().split('\n\n')[0]?.split('\n').slice(1) ?? [];
  return lines.map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell, column) => (column === 0 ? cell.trim().replaceAll('`', '') : cell.trim())),
  );
}

describe('docs/policy.md', () => {
  test('has every refusal, in the words of the code', () => {
    expect(table('| refusal | what it means, and what to change |')).toEqual(Object.entries(REFUSALS));
  });

  test('has every limit with its default', () => {
    const defaults = settingEntries
      .filter(([field]) => field.startsWith('max_'))
      .map(([field, { property, byDefault }]) => {
        const targets = DEFAULT_TARGETS[property as keyof typeof DEFAULT_TARGETS];
        return [field, targets === undefined ? String(byDefault) : `${targets} times the target`];
      });
    const rows = table('| limit | of | default | reached |').map(([field = '', , byDefault = '']) => [field, byDefault]);
    expect(rows.toSorted()).toEqual(defaults.toSorted());
  });

  test('has every hold, in the words of the code', () => {
    const rows = Object.entries(HOLDS).map(([reason, { scopes, openedWhen, endedBy }]) => [reason, scopes.join(', '), openedWhen, endedBy]);
    expect(table('| hold | on | opened when | ended by |')).toEqual(rows);
  });

  test('has every rule about declines, with its source', () => {
    const rows = table('| code | values | means | because |').slice(0, -1);
    expect(rows.map(([, values, , because]) => [values?.replaceAll('`', ''), because])).toEqual(
      DECLINE_RULES.map(({ values, because, source }) => [values.join(', '), `[${because}](${source})`]),
    );
  });

  test('says how often a card is asked', () => {
    expect(doc).toContain(`never more than ${MAX_FAILED_ATTEMPTS} failed attempts in ${ATTEMPTS_WINDOW_MS / DAY_MS} days`);
    expect(doc).toContain(`${pauseAfter(1) / 60_000} minutes, doubling`);
  });

  test('names only refusals that there are', () => {
    const named = [...doc.matchAll(/`([a-z]+_reached)`/g)].map(([, refusal]) => refusal);
    for (const refusal of named) expect(Object.keys(REFUSALS)).toContain(refusal);
  });

  test('says from when on a series is a runaway', () => {
    expect(doc).toContain(`at least ${SERIES} recharges succeeded, and more than ${NORMAL_TIMES} times as many`);
    expect(doc).toContain(`less than ${NORMAL_AFTER_MS / DAY_MS} days`);
  });
});
