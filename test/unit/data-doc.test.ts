/** docs/data.md has every table, with the times and reasons of the code. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { entities } from '../../src/database/entities.ts';
import { INDEXES } from '../../src/database/migrations/0019-indexes-for-growth.ts';
import { STORY_INDEXES } from '../../src/database/migrations/0021-indexes-for-stories.ts';
import { QUESTIONABLE_INDEX } from '../../src/database/migrations/0023-accepted-budgets.ts';
import { SUCCEEDED_INDEX } from '../../src/database/migrations/0026-recharges-that-succeeded.ts';
import { SHORT_OF_CHARGE_INDEX } from '../../src/database/migrations/0027-charges-that-are-held.ts';
import { CALLED_OFF_INDEX } from '../../src/database/migrations/0029-recharges-called-off.ts';
import { STANDING_DRIFT_INDEX } from '../../src/database/migrations/0030-differences-that-stand.ts';
import { RETENTION } from '../../src/domain/retention.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const MIGRATIONS = `${ROOT}src/database/migrations/`;

const doc = readFileSync(`${ROOT}docs/data.md`, 'utf8');
const rows = new Map(
  Array.from(doc.matchAll(/^\| `(\w+)` \| (.+) \|$/gm), ([, table = '', cells = '']) => {
    const [what, secret, howLong = '', because, removedBy = ''] = cells.split('|').map((cell) => cell.trim());
    return [table, { what, secret, howLong, because, removedBy }];
  }),
);

/** Every table that a migration or the migrator makes. */
const tables = ['bill_migration'];
for (const file of readdirSync(MIGRATIONS))
  for (const [, table] of readFileSync(MIGRATIONS + file, 'utf8').matchAll(/create table (?:if not exists )?(\w+)/g))
    tables.push(table ?? '');

describe('docs/data.md', () => {
  test('has a row for each table, and for no other', () => {
    expect([...rows.keys()].toSorted()).toEqual(tables.toSorted());
    expect([...rows.keys()]).toEqual(expect.arrayContaining(entities.map(({ meta }) => meta.tableName)));
  });

  test.each(Object.entries(RETENTION))('says how long %s lasts and why, as the code does', (table, { days, because }) => {
    expect(rows.get(table)).toMatchObject({ because, removedBy: expect.stringMatching(/^retention/) });
    expect(rows.get(table)?.howLong).toMatch(new RegExp(`\\b${days} days\\b`));
  });

  test('says of no other table that it lasts for days', () => {
    const others = [...rows].filter(([table]) => !Object.hasOwn(RETENTION, table));
    expect(others.filter(([, { howLong, removedBy }]) => /\bdays\b/.test(howLong) || removedBy.startsWith('retention'))).toEqual([]);
  });

  test('builds beforehand what the migrations build', () => {
    expect(Array.from(doc.matchAll(/^create index concurrently if not exists (.+);$/gm), ([, index]) => index)).toEqual([
      ...INDEXES,
      ...STORY_INDEXES,
      QUESTIONABLE_INDEX,
      SUCCEEDED_INDEX,
      SHORT_OF_CHARGE_INDEX,
      CALLED_OFF_INDEX,
      STANDING_DRIFT_INDEX,
    ]);
  });
});
