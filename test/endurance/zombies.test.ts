/**
 * Workers that are cut off from Temporal or hang, are given up by it, and work on: what they do late is not
 * done a second time, and undoes nothing. Each is a real process, stopped or behind proxies: one parts it
 * from Temporal, the other keeps it waiting for PostgreSQL in the middle of an activity until others have
 * done its work.
 */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { CHARGED_AND_REFUNDED, CHARGED_ONCE, RECHARGED, REFUNDED } from '../support/books.ts';
import { CONFIRM, CREATE_INTENT, READ_BUDGET, WRITE_BUDGET } from '../support/faults.ts';
import { type BillProcess, Processes } from '../support/processes.ts';
import { type ServerProxy, startProxy } from '../support/proxy.ts';
import { type Organization, World } from '../support/world.ts';

/** A worker that is not heard of is given up after 20 s; a busy machine takes its time all the same. */
const TAKEOVER_TIMEOUT_MS = 120_000;
/**
 * A worker that hangs still is handed tasks, through the calls that it waits in; each is given to another one
 * when its time is over.
 */
const HUNG_TIMEOUT_MS = 120_000;
/**
 * An answer comes so late that the test can act while it is waited for, and before our own deadline for it,
 * of 15 s at least.
 */
const LATE_MS = 8_000;

let world: World;
/** What the doomed worker reaches its servers through. */
let toTemporal: ServerProxy | undefined;
let toPostgres: ServerProxy | undefined;
const workers = new Processes();

beforeAll(async () => {
  world = await World.create();
  await world.startApi();
});
afterEach(async () => {
  toTemporal?.cut();
  toPostgres?.cut();
  await world.clearFaults();
  await workers.killAll();
  await world.releaseService();
});
afterAll(() => world.close());

const PATIENT = `--import ${new URL('../support/patient-database.ts', import.meta.url).href}`;

/** The only worker, until `replaceWorker`. */
async function startDoomedWorker(): Promise<BillProcess> {
  const database = new URL(world.env['DATABASE_URL'] ?? '');
  toTemporal = await startProxy(world.env['TEMPORAL_ADDRESS'] ?? '');
  toPostgres = await startProxy(database.host);
  database.host = toPostgres.address;
  return workers.start('worker', world, { TEMPORAL_ADDRESS: toTemporal.address, DATABASE_URL: database.href, NODE_OPTIONS: PATIENT });
}

/** Parts the first worker from Temporal, in whose place another one comes. */
async function replaceWorker(): Promise<void> {
  toTemporal?.cut();
  await workers.start('worker', world);
}

async function struck(times: number, what: string): Promise<void> {
  await world.eventually(async () => (await world.strikes()) === times, what, TAKEOVER_TIMEOUT_MS);
}

/** Keeps the first worker waiting for PostgreSQL, which it asks next when the answer of `call` comes. */
async function holdAfter(call: string): Promise<void> {
  await struck(1, `the answer to ${call} is on its way`);
  toPostgres?.hold();
  await world.eventually(async () => toPostgres?.hasHeld(), `the first worker has the answer to ${call}`);
}

/**
 * Lets a worker go on with an activity, and waits until it has come to an end with it, heard by Temporal or
 * not.
 */
async function goOn(worker: BillProcess, activity: string, wake: () => void): Promise<void> {
  const hasEnded = () =>
    worker.lines.some(
      (line) =>
        /respond_activity_task_(completed|failed)|Activity not found on completion/.test(line) ||
        (line.includes('Activity failed') && line.includes(`"${activity}"`)),
    );
  expect(hasEnded()).toBe(false);
  wake();
  await world.eventually(async () => hasEnded(), `the first worker is done with ${activity}`, TAKEOVER_TIMEOUT_MS);
}

async function alert({ teamId }: Organization, body: Record<string, unknown> = {}): Promise<string> {
  return (await world.alert(teamId, { body })).data.event_id;
}

/**
 * An event whose charge is made and whose worker has read the budget to raise, and has not yet planned what
 * to write.
 */
async function readBudget(organization: Organization): Promise<string> {
  // The read before this one is that of the decision.
  await world.kmsFault({ ...READ_BUDGET, skip: 1, when: 'after', action: { kind: 'delay', ms: LATE_MS } });
  const eventId = await alert(organization);
  await holdAfter('the look at the budget');
  return eventId;
}

test('one creates an intent, another one finds no card meanwhile, and the first one captures: one charge, and its quota', async () => {
  await startDoomedWorker();
  const organization = await world.organization();
  await world.stripeFault({ ...CREATE_INTENT, when: 'after', action: { kind: 'delay', ms: LATE_MS } });
  const eventId = await alert(organization);
  await holdAfter('the creation of the intent');
  await world.stripeFault({ method: 'GET', path: '/v1/payment_intents', when: 'before', action: { kind: 'delay', ms: LATE_MS } });
  await replaceWorker();
  await struck(2, 'the second worker looks for the card');
  toPostgres?.release();
  await world.eventually(async () => (await world.books(organization)).charges === 1, 'the first worker has captured');
  for (const card of (await world.stripe.customers.listPaymentMethods(organization.customerId)).data) {
    await world.stripe.paymentMethods.detach(card.id);
  }

  expect(await world.closed(eventId, TAKEOVER_TIMEOUT_MS)).toEqual(RECHARGED);
  expect(await world.budgetOf(organization.teamId)).toBe(30.5);
  expect(await world.books(organization)).toEqual(CHARGED_ONCE);
});

test('one that read the budget before the next two recharges does not write it back over them', async () => {
  const doomed = await startDoomedWorker();
  const organization = await world.organization();
  const eventId = await readBudget(organization);
  await replaceWorker();
  expect(await world.closed(eventId, TAKEOVER_TIMEOUT_MS)).toEqual(RECHARGED);
  await world.spend(organization.teamId, 25);
  const next = await alert(organization, { max_budget: 30.5, spend: 35.5 });
  expect(await world.closed(next, TAKEOVER_TIMEOUT_MS)).toEqual(RECHARGED);
  expect(await world.budgetOf(organization.teamId)).toBe(55.5);

  await goOn(doomed, 'updateKmsQuota', () => toPostgres?.release());
  expect(await world.budgetOf(organization.teamId)).toBe(55.5);
  expect(await world.books(organization)).toEqual({ charges: 2, captured: 4550, refunded: 0, granted: 4550, prepaid: 0 });
});

test('one that read the budget before the charge was refunded gives no quota for it', async () => {
  const doomed = await startDoomedWorker();
  const organization = await world.organization();
  const eventId = await readBudget(organization);
  await world.kmsFault({
    ...WRITE_BUDGET,
    action: { kind: 'respond', status: 403, body: { error: { message: 'forbidden' } } },
  });
  await replaceWorker();
  expect(await world.closed(eventId, TAKEOVER_TIMEOUT_MS)).toEqual(REFUNDED);
  expect(await world.budgetOf(organization.teamId)).toBe(10);

  await goOn(doomed, 'updateKmsQuota', () => toPostgres?.release());
  expect(await world.budgetOf(organization.teamId)).toBe(10);
  expect(await world.books(organization)).toEqual(CHARGED_AND_REFUNDED);
});

test('one hangs while it charges and wakes up when another one has finished the recharge: one charge, and its quota', async () => {
  const hung = await workers.start('worker', world);
  const organization = await world.organization();
  // The card is charged, and the answer to that comes to a process that does not run.
  await world.stripeFault({ ...CONFIRM, when: 'after', action: { kind: 'delay', ms: LATE_MS } });
  const eventId = await alert(organization);
  await world.eventually(async () => (await world.books(organization)).charges === 1, 'the card is charged');
  hung.process.kill('SIGSTOP');
  await workers.start('worker', world);
  expect(await world.closed(eventId, HUNG_TIMEOUT_MS)).toEqual(RECHARGED);

  await goOn(hung, 'chargeStripe', () => hung.process.kill('SIGCONT'));
  expect(hung.process.exitCode).toBeNull();
  expect(await world.budgetOf(organization.teamId)).toBe(30.5);
  expect(await world.books(organization)).toEqual(CHARGED_ONCE);
});
