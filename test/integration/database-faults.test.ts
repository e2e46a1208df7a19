/**
 * PostgreSQL fails at each step of a recharge: before it, in the middle of it, or right after a commit whose
 * acknowledgement is lost.
 *
 * @jest-environment node
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { FAILURE } from '../../src/domain/failures.ts';
import { CONNECTIONS } from '../../src/worker.ts';
// Lets activities of the worker in this process fail where a test says.
import '../simulation/mishaps.ts';
import { type DriverError, type Mishap, MishapBoard } from '../simulation/mishap-board.ts';
import type { MishapPoint } from '../simulation/schedule.ts';
import { RECHARGED, REFUNDED } from '../support/books.ts';
import { expectChargedOnce, expectRefunded } from '../support/expectations.ts';
import { lastFailure } from '../support/runs.ts';
import { World } from '../support/world.ts';

/** `isDeleted`: the team is deleted after the charge, so that the path leads to the refund. */
const STEPS = [
  { activity: 'checkLimits', isDeleted: false },
  { activity: 'chargeStripe', isDeleted: false },
  { activity: 'recordRecharge', isDeleted: false },
  { activity: 'updateKmsQuota', isDeleted: false },
  { activity: 'refundCharge', isDeleted: true },
  // A grant closes its event itself.
  { activity: 'closeEvent', isDeleted: true },
];

let world: World;
/**
 * What is still to happen to an organization's recharge: set before its alert is sent, so that the worker
 * cannot be first.
 */
const fates = new Map<string, { activity: string; mishaps: Mishap[] }>();
const board = new MishapBoard(async ({ activity, eventId }) => {
  const { rows } = await world.sql.query('select organization_id as id from webhook_event where id = $1', [eventId]);
  const fate = fates.get(rows[0]?.id);
  return (fate?.activity === activity && fate.mishaps.shift()) || null;
});

beforeAll(async () => {
  process.env['SIMULATION_MISHAPS_URL'] = await board.listen();
  world = await World.start();
});
afterAll(async () => {
  await world.close();
  board.close();
});

/** A recharge in one of whose steps all of these happen, one after the other. */
async function suffer(activity: string, isDeleted: boolean, mishaps: Mishap[]): Promise<void> {
  const organization = await world.organization();
  fates.set(organization.id, { activity, mishaps });
  if (isDeleted) {
    const { eventId, goOn } = await world.chargedButNotGranted(organization);
    await world.deleteTeam(organization.teamId);
    await goOn();
    expect(await world.closed(eventId)).toEqual(REFUNDED);
    await expectRefunded(world, organization);
  } else {
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  }
  // The last of them may come after the event is closed.
  await world.eventually(async () => mishaps.length === 0, 'all of it has happened');
}

const throwing = (point: MishapPoint, error: DriverError): Mishap => ({ point, ending: 'throws', error });

describe('one charge, granted or refunded once', () => {
  test.each(STEPS)('case 48: connection lost, serialization failure and pool exhausted at $activity', ({ activity, isDeleted }) =>
    suffer(activity, isDeleted, [
      throwing('before', 'connection lost'),
      throwing('before', 'serialization failure'),
      throwing('before', 'pool exhausted'),
    ]),
  );

  test.each(STEPS)('case 49: the commit of $activity is done and its acknowledgement lost, again and again', ({ activity, isDeleted }) =>
    suffer(activity, isDeleted, [throwing('first commit', 'connection lost'), throwing('after', 'connection lost')]),
  );

  test('case 48: every connection waits for a lock that somebody else holds, while thirty alerts come', async () => {
    const organizations = await Promise.all(Array.from({ length: 30 }, () => world.organization()));
    const eventIds: string[] = [];
    const holder = await world.sql.connect();
    await holder.query('begin');
    try {
      await holder.query('lock table recharge in access exclusive mode');
      eventIds.push(...(await Promise.all(organizations.map((organization) => world.accepted(organization)))));
      await world.eventually(async () => (await waitingForLocks()) >= CONNECTIONS.money, 'every connection for charges waits');
      await world.eventually(async () => {
        const failures = await Promise.all(eventIds.map(async (eventId) => lastFailure(await world.runOf(eventId))));
        return failures.some((failure) => failure?.type === FAILURE.databaseUnavailable);
      }, 'an attempt has found no connection');
    } finally {
      await holder.query('commit');
      holder.release();
    }
    for (const eventId of eventIds) expect(await world.closed(eventId)).toEqual(RECHARGED);
    for (const organization of organizations) await expectChargedOnce(world, organization);
  });

  async function waitingForLocks(): Promise<number> {
    const { rows } = await world.sql.query(
      "select count(*)::int from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    );
    return rows[0].count;
  }
});
