/**
 * Workers that are cut off from Temporal or hang, are given up by it, and work on: what they do late is not done a second
 * time, and undoes nothing. Each is a real process, stopped or behind a proxy that parts it from Temporal in the middle of a
 * call, which the stand-in answers only when another worker has taken over.
 */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { Processes } from '../support/processes.ts';
import { type CuttableProxy, startProxy } from '../support/proxy.ts';
import { World } from '../support/world.ts';

/**
 * A worker that is not heard of is given up after six seconds, and another one has its task a second later. What the first
 * one waits for has to come after that, and before our own deadline for LiteLLM ends the wait after fifteen.
 */
const LATE_MS = 14_000;
/** For what the late worker does with its answer. */
const AFTERMATH_MS = 1_000;
/** A worker that hangs still is handed tasks, through the calls that it waits in; each is given to another one when its time is over. */
const HUNG_TIMEOUT_MS = 120_000;

const CHARGED_ONCE = { charges: 1, captured: 2050, refunded: 0, granted: 2050, prepaid: 0 };
const RECHARGED = { outcome: 'recharged', success: true };

let world: World;
let proxy: CuttableProxy | undefined;
const workers = new Processes();

beforeAll(async () => {
  world = await World.create();
  await world.startApi();
}, 60_000);
afterEach(async () => {
  proxy?.cut();
  await world.clearFaults();
  await workers.killAll();
});
afterAll(() => world.close());

/** The only worker, until `replaceWorker`. */
async function startDoomedWorker(): Promise<void> {
  proxy = await startProxy(world.env['TEMPORAL_ADDRESS'] ?? '');
  await workers.start('worker', world, { TEMPORAL_ADDRESS: proxy.address });
}

/** Parts the first worker from Temporal, in whose place another one comes. */
async function replaceWorker(): Promise<void> {
  proxy?.cut();
  await workers.start('worker', world);
}

async function struck(times: number, what: string): Promise<void> {
  await world.eventually(async () => (await world.strikes()) === times, what);
}

test('one creates an intent, another one finds no card meanwhile, and the first one captures: one charge, and its quota', async () => {
  await startDoomedWorker();
  const organization = await world.organization();
  await world.stripeFault({ method: 'POST', path: '/v1/payment_intents', when: 'after', action: { kind: 'delay', ms: 12_000 } });
  const { data } = await world.alert(organization.teamId);
  await struck(1, 'the intent is being created');
  await world.stripeFault({ method: 'GET', path: '/v1/customers/*', when: 'before', action: { kind: 'delay', ms: 8_000 } });
  await replaceWorker();
  await struck(2, 'the second worker looks for the card');
  await world.eventually(async () => (await world.books(organization)).charges === 1, 'the first worker has captured');
  for (const card of (await world.stripe.customers.listPaymentMethods(organization.customerId)).data) {
    await world.stripe.paymentMethods.detach(card.id);
  }

  expect(await world.closed(data.event_id)).toEqual(RECHARGED);
  expect(await world.budgetOf(organization.teamId)).toBe(30.5);
  expect(await world.books(organization)).toEqual(CHARGED_ONCE);
}, 90_000);

test('one that read the budget before the next two recharges does not write it back over them', async () => {
  await startDoomedWorker();
  const organization = await world.organization();
  const late = await readBudgetLate(organization.teamId);
  await replaceWorker();
  expect(await world.closed(late.eventId)).toEqual(RECHARGED);
  await world.spend(organization.teamId, 25);
  const { data } = await world.alert(organization.teamId, { body: { max_budget: 30.5, spend: 35.5 } });
  expect(await world.closed(data.event_id)).toEqual(RECHARGED);
  expect(await world.budgetOf(organization.teamId)).toBe(55.5);

  await late.over();
  expect(await world.budgetOf(organization.teamId)).toBe(55.5);
  expect(await world.books(organization)).toEqual({ charges: 2, captured: 4550, refunded: 0, granted: 4550, prepaid: 0 });
}, 90_000);

test('one that read the budget before the charge was refunded gives no quota for it', async () => {
  await startDoomedWorker();
  const organization = await world.organization();
  const late = await readBudgetLate(organization.teamId);
  await world.kmsFault({
    method: 'POST',
    path: '/team/update',
    action: { kind: 'respond', status: 403, body: { error: { message: 'forbidden' } } },
  });
  await replaceWorker();
  expect(await world.closed(late.eventId)).toEqual({ outcome: 'refunded', success: false });
  expect(await world.budgetOf(organization.teamId)).toBe(10);

  await late.over();
  expect(await world.budgetOf(organization.teamId)).toBe(10);
  expect(await world.books(organization)).toEqual({ ...CHARGED_ONCE, refunded: 2050, granted: 0 });
}, 90_000);

test('one hangs while it charges and wakes up when another one has finished the recharge: one charge, and its quota', async () => {
  const hung = await workers.start('worker', world);
  const organization = await world.organization();
  // The card is charged, and the answer to that comes to a process that does not run.
  await world.stripeFault({ path: '/v1/payment_intents/*/confirm', when: 'after', action: { kind: 'delay', ms: 3_000 } });
  const { data } = await world.alert(organization.teamId);
  await world.eventually(async () => (await world.books(organization)).charges === 1, 'the card is charged');
  hung.process.kill('SIGSTOP');
  await workers.start('worker', world);
  expect(await world.closed(data.event_id, HUNG_TIMEOUT_MS)).toEqual(RECHARGED);

  hung.process.kill('SIGCONT');
  await new Promise((resolve) => setTimeout(resolve, AFTERMATH_MS));
  expect(hung.process.exitCode).toBeNull();
  expect(await world.budgetOf(organization.teamId)).toBe(30.5);
  expect(await world.books(organization)).toEqual(CHARGED_ONCE);
}, 240_000);

/** An event whose charge is made and whose worker has read the budget to raise, but does not get the answer before LATE_MS. */
async function readBudgetLate(teamId: string): Promise<{ eventId: string; over: () => Promise<void> }> {
  // The read before this one is that of the decision.
  await world.kmsFault({ method: 'GET', path: '/team/info', skip: 1, when: 'after', action: { kind: 'delay', ms: LATE_MS } });
  const { data } = await world.alert(teamId);
  await struck(1, 'the budget is being read');
  const overAt = Date.now() + LATE_MS + AFTERMATH_MS;
  return {
    eventId: data.event_id,
    over: async () => {
      expect(Date.now()).toBeLessThan(overAt - AFTERMATH_MS);
      await new Promise((resolve) => setTimeout(resolve, overAt - Date.now()));
    },
  };
}
