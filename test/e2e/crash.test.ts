/** The service as real processes, killed and restarted at the worst moments: each recharge ends by itself, charged once. */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import type { FaultRequest } from '../../sandbox/faults.ts';
import { freePort } from '../support/ports.ts';
import { Processes } from '../support/processes.ts';
import { type Organization, World } from '../support/world.ts';

/** A dead worker is noticed within seconds; a busy machine takes its time all the same. */
const RECOVERY_TIMEOUT_MS = 60_000;

const CHARGED_ONCE = { charges: 1, captured: 2050, refunded: 0, granted: 2050, prepaid: 0 };
const RECHARGED = { outcome: 'recharged', success: true };

let world: World;
const processes = new Processes();

beforeAll(async () => {
  world = await World.create();
}, 60_000);
afterEach(async () => {
  await processes.killAll();
  await world.clearFaults();
});
afterAll(() => world.close());

type Moment = {
  when: string;
  /** Where the worker waits for an answer that does not come. */
  kms?: FaultRequest;
  stripe?: FaultRequest;
  reached: (organization: Organization) => Promise<boolean>;
};

const isCharged: Moment['reached'] = async (organization) => (await world.books(organization)).charges === 1;
const WRITE = { method: 'POST', path: '/team/update' } as const;
const CONFIRM = { path: '/v1/payment_intents/*/confirm', when: 'after' } as const;

const MOMENTS: Moment[] = [
  { when: 'while it waits for the charge', stripe: { ...CONFIRM, action: { kind: 'hang' } }, reached: isCharged },
  {
    when: 'after the charge and before the quota',
    kms: { ...WRITE, action: { kind: 'hang' } },
    reached: async (organization) => (await world.books(organization)).prepaid === 2050,
  },
  {
    when: 'after the quota was written and before that is known',
    kms: { ...WRITE, when: 'after', action: { kind: 'hang' } },
    reached: async ({ teamId }) => (await world.budgetOf(teamId)) === 30.5,
  },
];

test.each(MOMENTS)(
  'case 46: kill -9 of the worker $when: one charge, and the quota is raised once',
  async ({ kms, stripe, reached, when }) => {
    const [, worker] = await Promise.all([processes.start('serve', world), processes.start('worker', world)]);
    const organization = await world.organization();
    if (stripe) await world.stripeFault(stripe);
    if (kms) await world.kmsFault(kms);
    const { data } = await world.alert(organization.teamId);
    await world.eventually(() => reached(organization), when);
    await worker.kill();

    await processes.start('worker', world);
    await expectRechargedOnce(organization, data.event_id);
  },
  120_000,
);

async function expectRechargedOnce(organization: Organization, eventId: string): Promise<void> {
  expect(await world.closed(eventId, RECOVERY_TIMEOUT_MS)).toEqual(RECHARGED);
  expect(await world.budgetOf(organization.teamId)).toBe(30.5);
  expect(await world.books(organization)).toEqual(CHARGED_ONCE);
}

test('case 47: kill -9 of the API after the commit and before the dispatch: another API starts the workflow', async () => {
  const nowhere = `127.0.0.1:${await freePort()}`;
  const [api] = await Promise.all([processes.start('serve', world, { TEMPORAL_ADDRESS: nowhere }), processes.start('worker', world)]);
  const organization = await world.organization();
  const { status, data } = await world.alert(organization.teamId);
  expect([status, data.status]).toEqual([200, 'accepted']);
  await api.kill();
  expect((await world.sql.query('select dispatched_at from webhook_event where id = $1', [data.event_id])).rows).toEqual([
    { dispatched_at: null },
  ]);

  await processes.start('serve', world);
  await expectRechargedOnce(organization, data.event_id);
}, 120_000);

test('SIGTERM under load: every alert that was answered 200 is handled, and both processes end with 0', async () => {
  const [api, worker] = await Promise.all([processes.start('serve', world), processes.start('worker', world)]);
  const organizations = await Promise.all(Array.from({ length: 8 }, () => world.organization()));
  const alerts = Promise.all(organizations.map(({ teamId }) => world.alert(teamId).catch(() => undefined)));
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(await Promise.all([api.terminate(), worker.terminate()])).toEqual([0, 0]);
  const answered = (await alerts).flatMap((answer) => (answer?.status === 200 ? [answer.data.event_id as string] : []));

  await Promise.all([processes.start('serve', world), processes.start('worker', world)]);
  for (const eventId of answered) expect(await world.closed(eventId, RECOVERY_TIMEOUT_MS)).toEqual(RECHARGED);
  for (const organization of organizations) {
    const { charges, prepaid } = await world.books(organization);
    expect(charges).toBeLessThanOrEqual(1);
    expect(prepaid).toBe(0);
  }
}, 120_000);
