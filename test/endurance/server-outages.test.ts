/**
 * Temporal and PostgreSQL unavailable for a while under the service's real processes. For as long as in the world,
 * instead of seconds:
 *
 *   OUTAGE_SECONDS=3600 npm run jest -- --selectProjects=endurance --testPathPatterns server-outages
 */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { expectRechargedOnce, startService, type Underway } from '../e2e/service.ts';
import { ALWAYS, CONFIRM, UNAVAILABLE, WRITE_BUDGET } from '../support/faults.ts';
import { createWorldOfItsOwn, type WorldOfItsOwn } from '../support/own-servers.ts';
import { Processes } from '../support/processes.ts';
import type { Organization, World } from '../support/world.ts';

/** How long Temporal is unavailable. */
const OUTAGE_MS = Number(process.env['OUTAGE_SECONDS'] ?? 10) * 1000;
/** How long PostgreSQL is unavailable: a fail-over takes no longer than a minute. */
const FAILOVER_MS = Math.min(OUTAGE_MS, 60_000);

/** Retries have backed off to a minute at most by then; a busy machine takes its time besides. */
const RECOVERY_TIMEOUT_MS = 120_000;
const START_AND_STOP_MS = 60_000;
/**
 * The answer to a charge comes in the middle of the outage: long after its beginning, and before our own
 * deadline for Stripe.
 */
const ANSWER_AFTER_MS = 8_000;

let own: WorldOfItsOwn;
let world: World;
const processes = new Processes();

beforeAll(async () => {
  own = await createWorldOfItsOwn();
  world = own.world;
});
afterEach(async () => {
  await processes.killAll();
  await world.clearFaults();
  await Promise.all([own.postgres.start(), own.temporal.start()]);
});
afterAll(() => own.close());

async function expectAllRechargedOnce(all: Underway[]): Promise<void> {
  for (const underway of all) await expectRechargedOnce(world, underway, RECOVERY_TIMEOUT_MS);
}

/** Its card is charged and LiteLLM does not take the budget, until `clearFaults`. */
async function chargedButNotGranted(organization: Organization): Promise<Underway> {
  await world.kmsFault({ ...WRITE_BUDGET, contains: organization.teamId, times: ALWAYS, action: UNAVAILABLE });
  const { data } = await world.alert(organization.teamId);
  await world.eventually(async () => (await world.books(organization)).prepaid === 2050, 'the charge is in the ledger');
  return { organization, eventId: data.event_id };
}

/** The card is charged, and the answer to that comes in the outage which now begins. */
async function chargedButNotAnswered(organization: Organization): Promise<Underway> {
  const late = { kind: 'delay', ms: ANSWER_AFTER_MS } as const;
  await world.stripeFault({ ...CONFIRM, when: 'after', contains: organization.customerId, action: late });
  const { data } = await world.alert(organization.teamId);
  await world.eventually(async () => (await world.books(organization)).charges === 1, 'the card is charged');
  return { organization, eventId: data.event_id };
}

/** For as long as a server is unavailable: that is what happens, and not what is waited for. */
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test(
  `case 50: Temporal is unavailable for ${OUTAGE_MS / 1000} s: alerts are taken in meanwhile, and each is charged once when it is available again`,
  async () => {
    const ALERTS = 5;
    const { api, worker } = await startService(processes, world);
    await world.recharged(); // LiteLLM is seen to take a raise, so charges need not go one at a time.
    const organizations = await Promise.all(Array.from({ length: ALERTS + 2 }, () => world.organization()));
    const [granting, charging, ...alerting] = organizations as [Organization, Organization, ...Organization[]];
    const underway = [await chargedButNotGranted(granting), await chargedButNotAnswered(charging)];

    await own.temporal.stop();
    expect((await world.books(charging)).prepaid).toBe(0);
    await world.clearFaults();
    let survivor = api;
    for (const [index, organization] of alerting.entries()) {
      const { status, data } = await world.alert(organization.teamId);
      expect([status, data.status]).toEqual([200, 'accepted']);
      underway.push({ organization, eventId: data.event_id });
      // LiteLLM sends the same crossing again and again while the team is refused.
      expect((await world.alert(organization.teamId)).data.status).toBe('duplicate');
      await pause(OUTAGE_MS / ALERTS);
      // An API dies, and one that is started while Temporal is unavailable takes its place.
      if (index === 1) {
        await api.kill();
        survivor = await processes.start('serve', world);
      }
    }
    expect([survivor.process.exitCode, worker.process.exitCode]).toEqual([null, null]);
    for (const { organization } of underway.slice(2)) expect((await world.books(organization)).charges).toBe(0);

    await own.temporal.start();
    await expectAllRechargedOnce(underway);
    expect([survivor.process.exitCode, worker.process.exitCode]).toEqual([null, null]);
  },
  OUTAGE_MS + RECOVERY_TIMEOUT_MS + START_AND_STOP_MS,
);

test(
  `case 48: PostgreSQL is unavailable for ${FAILOVER_MS / 1000} s while cards are charged and budgets raised: one charge each, and its quota`,
  async () => {
    const { api, worker } = await startService(processes, world);
    await world.recharged();
    const [granting, charging, late] = await Promise.all([world.organization(), world.organization(), world.organization()]);
    const underway = [await chargedButNotGranted(granting), await chargedButNotAnswered(charging)];

    await own.postgres.stop();
    await world.clearFaults();
    const refused = await world.alert(late.teamId);
    expect(refused.status).toBe(503);
    expect(refused.headers['retry-after']).toBe('1');
    await pause(FAILOVER_MS);
    expect(await world.budgetOf(granting.teamId)).toBe(10);

    await own.postgres.start();
    const { data } = await world.eventually(async () => {
      const answer = await world.alert(late.teamId);
      return answer.status === 200 && answer;
    }, 'an alert is taken in again');
    await expectAllRechargedOnce([...underway, { organization: late, eventId: data.event_id }]);
    expect([api.process.exitCode, worker.process.exitCode]).toEqual([null, null]);
  },
  FAILOVER_MS + RECOVERY_TIMEOUT_MS + START_AND_STOP_MS,
);

test('PostgreSQL and Temporal restarted under it: one charge, and the quota is raised', async () => {
  await startService(processes, world);
  const underway = await chargedButNotGranted(await world.organization());
  await Promise.all([own.postgres.stop(), own.temporal.stop()]);
  await world.clearFaults();
  await Promise.all([own.postgres.start(), own.temporal.start()]);
  await expectAllRechargedOnce([underway]);
});
