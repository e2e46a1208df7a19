/** What holds for every file of the database room, and no type says. */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from '@jest/globals';
import { RECHARGE_STATUSES } from '../../../src/domain/recharge-status.ts';

const ROOM = new URL('../../../src/database/', import.meta.url);
const FILES = readdirSync(ROOM)
  .filter((name) => name.endsWith('.ts'))
  .map((name) => ({ name, source: readFileSync(new URL(name, ROOM), 'utf8') }));

/** Every place in the room that looks like this, with its file. */
function places(pattern: RegExp): string[] {
  return FILES.flatMap(({ name, source }) => [...source.matchAll(pattern)].map(([found]) => `${name}: ${found}`));
}

test('the room is where it is looked for', () => {
  expect(FILES.length).toBeGreaterThan(10);
});

test('PostgreSQL stamps rows: nothing asks for the time of this process', () => {
  expect(places(/new Date\(\)|Date\.now\(/g)).toEqual([]);
});

test('no read asks for a refresh: every read is fresh', () => {
  expect(places(/\brefresh: /g)).toEqual([]);
});

test('no query lists statuses of a recharge by hand', () => {
  const isByHand = (place: string) => place.match(/(?<=')\w+/g)?.every((word) => RECHARGE_STATUSES.some((status) => status === word));
  expect(places(/\bin \('[^)]*\)/g).filter(isByHand)).toEqual([]);
});
