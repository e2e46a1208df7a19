/** PostgreSQL fails at each step of a recharge: before it, in the middle of it, or right after a commit whose acknowledgement is lost. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
// Lets activities of the worker in this process fail where a test says.
import '../simulation/mishaps.ts';
import { type DriverError, type Mishap, MishapBoard } from '../simulation/mishap-board.ts';
import type { MishapPoint } from '../simulation/schedule.ts';
import { World } from '../support/world.ts';

const CHARGED_ONCE = { charges: 1, captured: 2050, refunded: 0, granted: 2050, prepaid: 0 };
const REFUNDED = { charges: 1, captured: 2050, refunded: 2050, granted: 0, prepaid: 0 };

/** `isDeleted`: the team goes away after the charge, so that the path leads to the refund. */
const STEPS = [
  { activity: 'checkLimits', isDeleted: false },
  { activity: 'chargeStripe', isDeleted: false },
  { activity: 'recordRecharge', isDeleted: false },
  { activity: 'updateKmsQuota', isDeleted: false },
  { activity: 'refundCharge', isDeleted: true },
  { activity: 'closeEvent', isDeleted: false },
];

let world: World;
/** What is still to happen to an organization's recharge: set before its alert is sent, so that the worker cannot be first. */
const fates = new Map<string, { activity: string; mishaps: Mishap[] }>();
const board = new MishapBoard(async ({ activity, eventId }) => {
  const { rows } = await world.sql.query('select organization_id as id from webhook_event where id = $1', [eventId]);
  const fate = fates.get(rows[0]?.id);
  return (fate?.activity === activity && fate.mishaps.shift()) || null;
});

beforeAll(async () => {
  process.env['SIMULATION_MISHAPS_URL'] = await board.listen();
  world = await World.start();
}, 60_000);
afterAll(async () => {
  await world.close();
  board.close();
});

/** A recharge in one of whose steps all of these happen, one after the other. */
async function suffer(activity: string, isDeleted: boolean, mishaps: Mishap[]): Promise<void> {
  const organization = await world.organization();
  if (isDeleted)
    await world.kmsFault({
      method: 'POST',
      path: '/team/update',
      contains: organization.teamId,
      times: 1000,
      action: { kind: 'respond', status: 503 },
    });
  fates.set(organization.id, { activity, mishaps });
  const { data } = await world.alert(organization.teamId);
  if (isDeleted) {
    await world.eventually(async () => (await world.books(organization)).prepaid === 2050, 'the charge is in the ledger');
    await world.deleteTeam(organization.teamId);
    await world.clearFaults();
  }
  expect((await world.closed(data.event_id, 60_000)).outcome).toBe(isDeleted ? 'refunded' : 'recharged');
  expect(await world.books(organization)).toEqual(isDeleted ? REFUNDED : CHARGED_ONCE);
  if (!isDeleted) expect(await world.budgetOf(organization.teamId)).toBe(30.5);
  // The last of them may come after the event is closed.
  await world.eventually(async () => mishaps.length === 0, 'all of it has happened');
}

const throwing = (point: MishapPoint, error: DriverError): Mishap => ({ point, ending: 'throws', error });

describe('one charge, granted or refunded once', () => {
  test.each(STEPS)(
    'case 48: connection lost, serialization failure and pool exhausted at $activity',
    ({ activity, isDeleted }) =>
      suffer(activity, isDeleted, [
        throwing('before', 'connection lost'),
        throwing('before', 'serialization failure'),
        throwing('before', 'pool exhausted'),
      ]),
    90_000,
  );

  test.each(STEPS)(
    'case 49: the commit of $activity is done and its acknowledgement lost, again and again',
    ({ activity, isDeleted }) =>
      suffer(activity, isDeleted, [throwing('first commit', 'connection lost'), throwing('after', 'connection lost')]),
    90_000,
  );

  test('case 48: every connection waits for a lock that somebody else holds, while thirty alerts come', async () => {
    const organizations = await Promise.all(Array.from({ length: 30 }, () => world.organization()));
    const holder = await world.sql.connect();
    await holder.query('begin');
    await holder.query('lock table recharge in access exclusive mode');
    const answers = await Promise.all(organizations.map(({ teamId }) => world.alert(teamId)));
    expect(answers.map(({ status }) => status)).toEqual(Array(30).fill(200));
    // Longer than a request waits for a connection of the pool.
    await new Promise((resolve) => setTimeout(resolve, 7_000));
    await holder.query('commit');
    holder.release();
    for (const [position, { data }] of answers.entries()) {
      expect(await world.closed(data.event_id, 90_000)).toEqual({ outcome: 'recharged', success: true });
      const organization = organizations[position];
      if (organization) expect(await world.books(organization)).toEqual(CHARGED_ONCE);
    }
  }, 150_000);
});
