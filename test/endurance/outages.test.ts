/**
 * Outages of days, in a minute: the service, PostgreSQL and the stand-ins are real, and so is every attempt;
 * only the time between two attempts is skipped. All of it happens in the same two days, and each test looks
 * at one story.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import axios from 'axios';
import { CHARGED_ONCE, RECHARGED, UNTOUCHED } from '../support/books.ts';
import { ALWAYS, CONFIRM, READ_INTENT, RESET, UNAVAILABLE, WRITE_BUDGET } from '../support/faults.ts';
import { type SkippingWorld, startSkippingWorld } from '../support/skipping-world.ts';
import type { Organization, OrganizationWish, World } from '../support/world.ts';

const MINUTE_MS = 60_000;
/**
 * So much time passes with one call: Temporal's test server drops a connection on which a call waits for half
 * a minute of real time, and the client would make that call again from the start, for ever on a busy
 * machine.
 */
const STRIDE_MS = 15 * MINUTE_MS;
/**
 * A stride is some hundred attempts, each of them made: a fraction of a second, and many times that on a busy
 * machine.
 */
const STRIDE_LIMIT_MS = MINUTE_MS;
/** 55 hours take a minute, and what leads to them seconds. */
const ALL_LIMIT_MS = 15 * MINUTE_MS;
/**
 * LiteLLM is asked every half minute for a day, and Stripe every minute for two: 2,880 times, and fewer where
 * an answer takes seconds.
 */
const FEWEST_ATTEMPTS = 2_000;
const MOST_ATTEMPTS = 3_000;

type Story = { organization: Organization; eventId: string };

let skipping: SkippingWorld;
let world: World;
/** What the service logs as errors. */
const alarms: string[] = [];

async function begin(
  wish?: OrganizationWish,
  prepare?: (organization: Organization) => Promise<unknown>,
  body: Record<string, unknown> = {},
): Promise<Story> {
  const organization = await world.organization(wish);
  await prepare?.(organization);
  const { data } = await world.alert(organization.teamId, { body });
  return { organization, eventId: data.event_id };
}

async function becomes({ eventId }: Story, status: string): Promise<{ payment_intent_id: string; refund_id: string }> {
  const query = 'select payment_intent_id, refund_id from recharge where event_id = $1 and status = $2';
  return world.eventually(async () => (await world.sql.query(query, [eventId, status])).rows[0], `recharge ${status}`);
}

/** How often a server that is unavailable was asked about a team or a customer. */
async function attempts(serverUrl: string, about: string): Promise<number> {
  const { data } = await axios.get<{ data: { contains?: string; struck: number }[] }>(`${serverUrl}/_sandbox/faults`);
  return data.data.filter(({ contains }) => contains === about).reduce((sum, { struck }) => sum + struck, 0);
}

function alarmsOf({ eventId }: Story): number {
  return alarms.filter((line) => line.includes(eventId) && line.includes('a recharge is overdue')).length;
}

/** Lets hours pass. @throws when Temporal's test server stands still instead. */
async function pass(hours: number): Promise<void> {
  const { temporal } = skipping;
  for (let passed = 0; passed < hours * 60 * MINUTE_MS; passed += STRIDE_MS) {
    const from = await temporal.currentTimeMs();
    if (await within(STRIDE_LIMIT_MS, temporal.sleep(STRIDE_MS))) continue;
    const now = await within(MINUTE_MS, temporal.currentTimeMs());
    throw new Error(
      `Temporal's test server stands still: ${passed / MINUTE_MS} of ${hours * 60} minutes have passed, and in the last ` +
        `${STRIDE_LIMIT_MS / 1000} s its clock ${now ? `has moved by ${(now.value - from) / 1000} s` : 'could not be read'}`,
    );
  }
}

/** What a promise brings; undefined when it takes longer. */
async function within<T>(ms: number, promise: Promise<T>): Promise<{ value: T } | undefined> {
  const patience = new AbortController();
  const over = sleep(ms, undefined, { signal: patience.signal }).catch(() => undefined);
  try {
    return await Promise.race([promise.then((value) => ({ value })), over]);
  } finally {
    patience.abort();
  }
}

describe('after two days', () => {
  let withoutKms: Story, withoutStripe: Story, settles: Story, bounces: Story, refundArrives: Story, refundFails: Story;
  let notShown: Story, reserved: Story;
  let [kmsAttempts, stripeAttempts] = [0, 0];

  beforeAll(async () => {
    skipping = await startSkippingWorld({ LOG_LEVEL: 'error' }, { write: (line) => alarms.push(line) });
    world = skipping.world;
    await world.recharged(); // LiteLLM is seen to take a raise, so charges need not go one at a time.
    withoutKms = await begin({}, ({ teamId }) => world.kmsFault({ ...WRITE_BUDGET, contains: teamId, times: ALWAYS, action: UNAVAILABLE }));
    // The answer to the confirm is lost, and then nothing is heard of the intent any more.
    withoutStripe = await begin({}, async ({ customerId }) => {
      const ours = { contains: customerId };
      // stripe-node itself sends once more after a closed connection.
      await world.stripeFault({ ...CONFIRM, ...ours, when: 'after', times: 2, action: RESET });
      await world.stripeFault({ ...READ_INTENT, ...ours, times: ALWAYS, action: UNAVAILABLE });
    });
    [settles, bounces] = [await begin({ card: 'pm_usBankAccount' }), await begin({ card: 'pm_usBankAccount' })];
    notShown = await begin({ budget: 10, spend: 1 });
    // Calls have reserved all of it, and LiteLLM never settles them.
    reserved = await begin({ budget: 18, spend: 0 }, undefined, { spend: 18, max_budget: 18 });
    await world.stripeKnob('refunds/mode', { status: 'pending' });
    [refundArrives, refundFails] = [await begin({}, withoutTeamSoon), await begin({}, withoutTeamSoon)];
    for (const story of [withoutKms, refundArrives, refundFails]) await becomes(story, 'charged');
    for (const story of [settles, bounces]) await becomes(story, 'processing');
    for (const { organization } of [refundArrives, refundFails]) await world.deleteTeam(organization.teamId);
    await world.eventually(async () => (await world.books(withoutStripe.organization)).charges === 1, 'the card is charged');

    await pass(24);
    kmsAttempts = await attempts(world.kmsUrl, withoutKms.organization.teamId);
    expect(await world.budgetOf(withoutKms.organization.teamId)).toBe(10);
    await sweepADayLater();
    await axios.delete(`${world.kmsUrl}/_sandbox/faults`);
    await world.stripeKnob('idempotency/prune');

    await pass(24);
    stripeAttempts = await attempts(world.stripeUrl, withoutStripe.organization.customerId);
    await axios.delete(`${world.stripeUrl}/_sandbox/faults`);
    for (const [story, outcome] of [
      [settles, 'succeeded'],
      [bounces, 'failed'],
    ] as const) {
      const { payment_intent_id } = await becomes(story, 'processing');
      await world.stripeKnob(`payment_intents/${payment_intent_id}/settle`, { outcome });
    }
    for (const [story, status] of [
      [refundArrives, 'succeeded'],
      [refundFails, 'failed'],
    ] as const) {
      const { refund_id } = await becomes(story, 'refunding');
      await world.stripeKnob(`refunds/${refund_id}`, { status });
    }
    // The longest pause between two looks at a bank is six hours.
    await pass(7);
  }, ALL_LIMIT_MS);
  afterAll(() => skipping?.close());

  /** LiteLLM is unavailable until its team is deleted. */
  async function withoutTeamSoon({ teamId }: Organization): Promise<void> {
    await world.kmsFault({ ...WRITE_BUDGET, contains: teamId, times: ALWAYS, action: UNAVAILABLE });
  }

  /** What is not settled is told by PostgreSQL's clock, on which no day has passed. */
  async function sweepADayLater(): Promise<void> {
    await world.sql.query(
      `update recharge set timeline = (
         select jsonb_agg(step || jsonb_build_object('at', '2026-01-01T00:00:00.000Z')) from jsonb_array_elements(timeline) step)`,
    );
    const { workflow } = skipping.temporal.client;
    await workflow.start('balanceSweepWorkflow', { workflowId: 'sweep-a-day-later', taskQueue: world.name, args: [] });
    await world.eventually(async () => alarmsOf(withoutKms) > 0, 'the alarm is raised');
  }

  test('case 38: KMS is unavailable for a day after the capture: the quota is raised once when it is available again, and the alarm was raised', async () => {
    expect(kmsAttempts).toBeGreaterThan(FEWEST_ATTEMPTS);
    expect(kmsAttempts).toBeLessThan(MOST_ATTEMPTS);
    expect(await world.closed(withoutKms.eventId)).toEqual(RECHARGED);
    expect(await world.budgetOf(withoutKms.organization.teamId)).toBe(30.5);
    expect(await world.books(withoutKms.organization)).toEqual(CHARGED_ONCE);
    expect(alarmsOf(withoutKms)).toBe(1);
  });

  test('case 25: Stripe is unavailable for two days, the answer to the confirm lost and the idempotency keys pruned: one charge, and its quota', async () => {
    expect(stripeAttempts).toBeGreaterThan(FEWEST_ATTEMPTS);
    expect(stripeAttempts).toBeLessThan(MOST_ATTEMPTS);
    expect(await world.closed(withoutStripe.eventId)).toEqual(RECHARGED);
    expect(await world.budgetOf(withoutStripe.organization.teamId)).toBe(30.5);
    expect(await world.books(withoutStripe.organization)).toEqual(CHARGED_ONCE);
  });

  test('case 33: a bank debit that settles after two days gets its quota then', async () => {
    expect(await world.closed(settles.eventId)).toEqual(RECHARGED);
    expect(await world.budgetOf(settles.organization.teamId)).toBe(30.5);
    expect(await world.books(settles.organization)).toEqual(CHARGED_ONCE);
    // The bank takes its time, which is nothing that an operator could settle.
    expect(alarmsOf(settles)).toBe(0);
  });

  test('case 33: a bank debit that bounces after two days gets none', async () => {
    expect(await world.closed(bounces.eventId)).toEqual({ outcome: 'declined', success: false });
    expect(await world.budgetOf(bounces.organization.teamId)).toBe(10);
    expect(await world.books(bounces.organization)).toEqual(UNTOUCHED);
  });

  test('case 42: a refund that was pending for two days and arrives ends the recharge, with neither money nor quota', async () => {
    expect(await world.closed(refundArrives.eventId)).toEqual({ outcome: 'refunded', success: false });
    expect(await world.books(refundArrives.organization)).toEqual({ ...CHARGED_ONCE, refunded: 2050, granted: 0 });
  });

  test('case 42: a refund that was pending for two days and fails leaves the money to a person, and is not made again', async () => {
    expect(await world.closed(refundFails.eventId)).toEqual({ outcome: 'needs_attention', success: false });
    expect(await world.books(refundFails.organization)).toEqual({ ...CHARGED_ONCE, granted: 0, prepaid: 2050 });
    const { data: charges } = await world.stripe.charges.list({ customer: refundFails.organization.customerId });
    expect((await world.stripe.refunds.list({ charge: charges[0]?.id ?? '' })).data).toMatchObject([{ status: 'failed' }]);
  });

  test('case 74: an alert that reports more spend than LiteLLM shows, for good, ends without a charge and without success', async () => {
    expect(await world.closed(notShown.eventId)).toEqual({ outcome: 'spend_not_shown', success: false });
    expect(await world.books(notShown.organization)).toEqual(UNTOUCHED);
  });

  test('a call that is refused by reservation for good, with less than a quarter used, ends so, without a charge', async () => {
    expect(await world.closed(reserved.eventId)).toEqual({ outcome: 'refused_with_money_left', success: false });
    expect(await world.books(reserved.organization)).toEqual(UNTOUCHED);
  });
});
