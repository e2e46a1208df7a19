/**
 * The service as real processes, killed and restarted at the worst moments: each recharge ends by itself,
 * charged once.
 */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import type { FaultRequest } from '../../sandbox/faults.ts';
import { freePort } from '../../sandbox/ports.ts';
import { CHARGED_ONCE, UNTOUCHED } from '../support/books.ts';
import { CONFIRM, WRITE_BUDGET } from '../support/faults.ts';
import { Processes } from '../support/processes.ts';
import { type Organization, World } from '../support/world.ts';
import { expectRechargedOnce, startService, type Underway } from './service.ts';

/** A dead worker is noticed within seconds; a busy machine takes its time all the same. */
const RECOVERY_TIMEOUT_MS = 60_000;

let world: World;
const processes = new Processes();

beforeAll(async () => {
  world = await World.create();
});
afterEach(async () => {
  await processes.killAll();
  await world.clearFaults();
});
afterAll(() => world.close());

/** Sends an alert about an organization, which has to be taken in. */
async function alert(organization: Organization): Promise<Underway> {
  const { status, data } = await world.alert(organization.teamId);
  expect([status, data.status]).toEqual([200, 'accepted']);
  return { organization, eventId: data.event_id };
}

type Moment = {
  when: string;
  /** Where the worker waits for an answer that does not come. */
  kms?: FaultRequest;
  stripe?: FaultRequest;
  reached: (organization: Organization) => Promise<boolean>;
};

const isCharged: Moment['reached'] = async (organization) => (await world.books(organization)).charges === 1;

const MOMENTS: Moment[] = [
  { when: 'while it waits for the charge', stripe: { ...CONFIRM, when: 'after', action: { kind: 'hang' } }, reached: isCharged },
  {
    when: 'after the charge and before the quota',
    kms: { ...WRITE_BUDGET, action: { kind: 'hang' } },
    reached: async (organization) => (await world.books(organization)).prepaid === 2050,
  },
  {
    when: 'after the quota was written and before that is known',
    kms: { ...WRITE_BUDGET, when: 'after', action: { kind: 'hang' } },
    reached: async ({ teamId }) => (await world.budgetOf(teamId)) === 30.5,
  },
];

test('case 46: kill -9 of the worker at three moments: one charge each, and its quota is raised once', async () => {
  const { worker } = await startService(processes, world);
  const all = await Promise.all(
    MOMENTS.map(async ({ kms, stripe, reached, when }) => {
      const organization = await world.organization();
      if (stripe) await world.stripeFault({ ...stripe, contains: organization.customerId });
      if (kms) await world.kmsFault({ ...kms, contains: organization.teamId });
      const underway = await alert(organization);
      await world.eventually(() => reached(organization), when);
      return underway;
    }),
  );
  await worker.kill();

  await processes.start('worker', world);
  for (const underway of all) await expectRechargedOnce(world, underway, RECOVERY_TIMEOUT_MS);
});

test('case 47: kill -9 of the API after the commit and before the dispatch: another API starts the workflow', async () => {
  const nowhere = `127.0.0.1:${await freePort()}`;
  const { api } = await startService(processes, world, { TEMPORAL_ADDRESS: nowhere });
  const underway = await alert(await world.organization());
  await api.kill();
  expect((await world.sql.query('select dispatched_at from webhook_event where id = $1', [underway.eventId])).rows).toEqual([
    { dispatched_at: null },
  ]);

  await processes.start('serve', world);
  await expectRechargedOnce(world, underway, RECOVERY_TIMEOUT_MS);
});

test('case 59: SIGTERM under load: every alert that was answered 200 is handled, and both processes end with 0', async () => {
  const ALERTS = 8;
  const { api, worker } = await startService(processes, world);
  const organizations = await Promise.all(Array.from({ length: ALERTS }, () => world.organization()));
  const answers = Promise.all(organizations.map(({ teamId }) => world.alert(teamId).catch(() => undefined)));
  const teams = organizations.map(({ teamId }) => teamId);
  await world.eventually(async () => {
    const { rowCount } = await world.sql.query('select 1 from webhook_event where team_id = any($1)', [teams]);
    return rowCount;
  }, 'the first alert is stored');
  expect(await Promise.all([api.terminate(), worker.terminate()])).toEqual([0, 0]);
  const taken = (await answers).flatMap((answer, index) => {
    const organization = organizations[index];
    return organization && answer?.status === 200 ? [{ organization, eventId: answer.data.event_id as string }] : [];
  });
  expect(taken).not.toEqual([]);

  await startService(processes, world);
  for (const underway of taken) await expectRechargedOnce(world, underway, RECOVERY_TIMEOUT_MS);
  const cutOff = organizations.filter((organization) => !taken.some((underway) => underway.organization === organization));
  // An alert whose answer was lost may have been stored all the same.
  for (const organization of cutOff) {
    await world.eventually(async () => {
      const { rowCount } = await world.sql.query('select 1 from webhook_event where team_id = $1 and not processed', [organization.teamId]);
      return rowCount === 0;
    }, `nothing is open for ${organization.id}`);
    expect([UNTOUCHED, CHARGED_ONCE]).toContainEqual(await world.books(organization));
  }
});
