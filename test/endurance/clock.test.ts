/**
 * Days and months begin when PostgreSQL says so, in the organization's time zone, whatever clock a worker
 * has.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { beginningOf } from '../../src/database/recharge-history.ts';
import { BUDGET_AFTER, RECHARGED, unsuccessful } from '../support/books.ts';
import { expectChargedOnce } from '../support/expectations.ts';
import { type BillProcess, startBill } from '../support/processes.ts';
import { World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await World.create();
  await world.startApi();
});
afterAll(() => world.close());

describe('case 53: a day of 23, 24 or 25 hours begins at midnight of its zone', () => {
  test.each<[string, 'day' | 'month', string, string, string]>([
    ['the day on which the clocks go forward', 'day', 'Europe/Berlin', '2026-03-29T21:59:59Z', '2026-03-28T23:00:00Z'],
    ['the day after it', 'day', 'Europe/Berlin', '2026-03-29T22:00:00Z', '2026-03-29T22:00:00Z'],
    ['the day on which they go back', 'day', 'Europe/Berlin', '2026-10-25T22:59:59Z', '2026-10-24T22:00:00Z'],
    ['a day whose midnight the clocks skip', 'day', 'America/Santiago', '2026-09-06T12:00:00Z', '2026-09-06T04:00:00Z'],
    ['a day whose midnight comes twice, after the first one', 'day', 'Atlantic/Azores', '2026-10-25T00:30:00Z', '2026-10-25T00:00:00Z'],
    ['the same day, after the second one', 'day', 'Atlantic/Azores', '2026-10-25T12:00:00Z', '2026-10-25T00:00:00Z'],
    ['a day whose last hour comes twice', 'day', 'Asia/Beirut', '2026-10-24T20:30:00Z', '2026-10-23T21:00:00Z'],
    ['the day after it', 'day', 'Asia/Beirut', '2026-10-24T22:00:00Z', '2026-10-24T22:00:00Z'],
    ['a month whose midnight comes twice', 'month', 'America/Havana', '2026-11-01T04:30:00Z', '2026-11-01T04:00:00Z'],
    ['a month in which they go back', 'month', 'America/New_York', '2026-11-30T12:00:00Z', '2026-11-01T04:00:00Z'],
    ['a month that has begun in its zone only', 'month', 'Pacific/Auckland', '2026-11-30T11:00:00Z', '2026-11-30T11:00:00Z'],
  ])('%s', async (_name, unit, zone, instant, begins) => {
    const numbered = beginningOf(unit, '$1', `timestamptz '${instant}'`);
    const { rows } = await world.sql.query(`select ${numbered} as begins`, [zone]);
    expect(rows[0].begins.toISOString()).toBe(new Date(begins).toISOString());
  });
});

test.each([
  ['a day ahead', 24 * 60 * 60 * 1000],
  ['forty days behind', -40 * 24 * 60 * 60 * 1000],
])('case 53: a worker whose clock is %s counts the same days and months, and charges once', async (_name, skewMs) => {
  // The real Date, set wrong before anything else of the worker runs.
  const wrong = `const now = Date.now; Date.now = () => now() + ${skewMs}; globalThis.Date = class extends Date { constructor(...given) { given.length ? super(...given) : super(Date.now()); } };`;
  const preload = `--import data:text/javascript,${encodeURIComponent(wrong)}`;
  let worker: BillProcess | undefined;
  try {
    worker = await startBill('worker', { ...world.env, NODE_OPTIONS: preload });
    const organization = await world.organization({ settings: { max_daily_recharges: 1, max_monthly_amount: '21.00' } });
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await world.spend(organization.teamId, 20);
    expect(await world.alerted(organization, { max_budget: BUDGET_AFTER })).toEqual(unsuccessful('daily_limit_reached'));
    await world.admin.patch(`/api/v1/organizations/${organization.id}`, { max_daily_recharges: 9 });
    expect(await world.alerted(organization, { max_budget: BUDGET_AFTER })).toEqual(unsuccessful('monthly_limit_reached'));
    await expectChargedOnce(world, organization);
  } finally {
    await worker?.kill();
  }
});
