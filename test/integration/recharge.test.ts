/** The way of one alert, and what it costs: counts that no machine changes. */
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import axios from 'axios';
import { SUMMARY_LIMIT_BYTES } from '../../src/domain/short-summary.ts';
import { BUDGET_AFTER, RECHARGED } from '../support/books.ts';
import { expectChargedOnce } from '../support/expectations.ts';
import { READ_BUDGET, UNAVAILABLE } from '../support/faults.ts';
import { recordStatements } from '../support/statements.ts';
import { World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterEach(() => {
  jest.restoreAllMocks();
  return world.clearFaults();
});
afterAll(() => world.close());

test('an alert charges the organization once and raises the budget by exactly what was paid', async () => {
  const organization = await world.organization({ budget: 10, spend: 10.5, target: '20.00' });
  const { status, data } = await world.alert(organization.teamId);
  expect([status, data.status]).toEqual([200, 'accepted']);
  expect(await world.closed(data.event_id)).toEqual(RECHARGED);
  await expectChargedOnce(world, organization);
});

test('a team whose name is long, in three bytes a character, has summaries that also a Temporal takes which holds its limit', async () => {
  const { eventId } = await world.recharged({ teamId: '企'.repeat(200) });
  const { events } = await (await world.runOf(eventId)).fetchHistory();
  const sizes = (events ?? []).map(({ userMetadata }) => userMetadata?.summary?.data?.length ?? 0);
  expect(Math.max(...sizes)).toBeGreaterThan(100);
  expect(Math.max(...sizes)).toBeLessThan(SUMMARY_LIMIT_BYTES);
});

type Marker = { markerName?: string; details?: Record<string, { payloads?: { data?: Uint8Array }[] }> };

/** The steps of a run in their order: activities by their name, local ones as `local <name>`. */
async function stepsOf(eventId: string): Promise<{ steps: string[]; count: number }> {
  const run = await world.runOf(eventId);
  await run.result().catch(() => undefined);
  const { events } = await run.fetchHistory();
  const steps = (events ?? []).flatMap(({ activityTaskScheduledEventAttributes: activity, markerRecordedEventAttributes: marker }) => {
    if (activity) return [activity.activityType?.name ?? ''];
    return marker?.markerName === 'core_local_activity' ? [`local ${localName(marker as Marker)}`] : [];
  });
  return { steps, count: events?.length ?? 0 };
}

function localName({ details }: Marker): string {
  const [payload] = details?.['data']?.payloads ?? [];
  return JSON.parse(new TextDecoder().decode(payload?.data ?? new Uint8Array())).activity_type;
}

describe('a recharge', () => {
  test('takes 24 events of the history, its four steps by their names, and six more where a short step is left to an activity', async () => {
    const { eventId } = await world.recharged();
    const { steps, count } = await stepsOf(eventId);
    // On a machine that is slow at the moment.
    const left = steps.filter((step) => steps.includes(`local ${step}`));
    expect(steps.filter((step) => !left.includes(step))).toEqual([
      'local checkLimits',
      'chargeStripe',
      'local recordRecharge',
      'updateKmsQuota',
    ]);
    expect(count).toBe(24 + 6 * left.length);
  });

  test('asks Stripe and LiteLLM no more often than it has to', async () => {
    const requestsOf = async (url: string): Promise<string[]> =>
      (await axios.get(`${url}/_sandbox/state`)).data.requests.map(
        ({ method, path }: { method: string; path: string }) => `${method} ${path}`,
      );
    const { organization, eventId } = await world.recharged();
    await (await world.runOf(eventId)).result();
    await world.spend(organization.teamId, 20);
    const before = [await requestsOf(world.stripeUrl), await requestsOf(world.kmsUrl)];
    expect(await world.alerted(organization, { max_budget: BUDGET_AFTER })).toEqual(RECHARGED);
    const [stripe, kms] = [await requestsOf(world.stripeUrl), await requestsOf(world.kmsUrl)];
    expect(stripe.slice(before[0]?.length)).toEqual([
      'GET /v1/payment_intents',
      'POST /v1/payment_intents',
      expect.stringMatching(/^POST \/v1\/payment_intents\/pi_\w+\/confirm$/),
    ]);
    expect(kms.slice(before[1]?.length)).toEqual(['GET /team/info', 'GET /team/info', 'POST /team/update', 'GET /team/info']);
  });

  test('sends PostgreSQL seventy statements, begin and commit among them', async () => {
    const { organization, eventId } = await world.recharged();
    await (await world.runOf(eventId)).result();
    const sent = recordStatements();
    const counts: number[] = [];
    // On a machine that is slow at the moment a short step may be begun twice.
    for (let budget = BUDGET_AFTER; counts.length < 3 && counts.at(-1) !== 70; budget += 20) {
      await world.spend(organization.teamId, 20);
      const before = sent.length;
      const again = await world.accepted(organization, { max_budget: budget });
      expect(await world.closed(again)).toEqual(RECHARGED);
      await (await world.runOf(again)).result();
      counts.push(sent.length - before);
    }
    expect(Math.min(...counts)).toBe(70);
  });

  test('whose short step fails within the workflow task goes on with an activity', async () => {
    const organization = await world.organization();
    await world.kmsFault({ ...READ_BUDGET, times: 3, action: UNAVAILABLE });
    const eventId = await world.accepted(organization);
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    expect((await stepsOf(eventId)).steps.slice(0, 3)).toEqual(['local checkLimits', 'checkLimits', 'chargeStripe']);
    await expectChargedOnce(world, organization);
  });

  test('whose short step takes long goes on with an activity, and is reserved once', async () => {
    const organization = await world.organization();
    await world.kmsFault({ ...READ_BUDGET, times: 1, action: { kind: 'delay', ms: 4_000 } });
    const eventId = await world.accepted(organization);
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    expect((await stepsOf(eventId)).steps.slice(0, 3)).toEqual(['local checkLimits', 'checkLimits', 'chargeStripe']);
    await expectChargedOnce(world, organization);
  });
});

test('an acknowledgement is one statement', async () => {
  const sent = recordStatements();
  const { data } = await world.alert('a-team-of-nobody');
  expect([data.status, sent.length]).toEqual(['accepted', 1]);
});

test('a synchronisation that finds nothing to do asks LiteLLM once a page', async () => {
  const sync = async () => {
    const { id } = (await world.admin.post('/api/v1/sync', {})).data;
    const isOver = async () => (await world.admin.get(`/api/v1/sync/${id}`)).data.status !== 'running';
    await world.eventually(isOver, 'the synchronisation is over');
  };
  await sync();
  let asked: string[] = [];
  // A look that a run has given up may still ask in between.
  for (let times = 0; times < 3 && asked.length !== 1; times++) {
    const before = (await world.kmsState()).requests.length;
    await sync();
    asked = (await world.kmsState()).requests.slice(before).map(({ method, path }) => `${method} ${path}`);
  }
  expect(asked).toEqual(['GET /v2/team/list']);
});

/**
 * When Temporal has given the charge of an event to a worker, in milliseconds. Stripe's own times depend on how long the worker
 * holds one up: on a slow machine two come at once.
 */
async function chargeGivenAt(eventId: string): Promise<number[]> {
  const events = (await (await world.runOf(eventId)).fetchHistory()).events ?? [];
  const isCharge = (id: unknown) =>
    events.some(
      (event) => event.activityTaskScheduledEventAttributes?.activityType?.name === 'chargeStripe' && String(event.eventId) === String(id),
    );
  return events
    .filter(({ activityTaskStartedEventAttributes: started }) => started && isCharge(started.scheduledEventId))
    .map(({ eventTime }) => Number(eventTime?.seconds) * 1_000 + Number(eventTime?.nanos) / 1e6);
}

test('charges of all organizations together keep to STRIPE_RATE_LIMIT, and every one is made', async () => {
  const [limit, crossings] = [3, 18];
  await world.stopWorker();
  await world.startWorker({ STRIPE_RATE_LIMIT: `${limit}` });
  const organizations = await Promise.all(Array.from({ length: crossings }, () => world.organization()));
  const events = await Promise.all(organizations.map((organization) => world.accepted(organization)));
  expect(await Promise.all(events.map((eventId) => world.closed(eventId)))).toEqual(events.map(() => RECHARGED));
  await Promise.all(organizations.map((organization) => expectChargedOnce(world, organization)));
  const given = (await Promise.all(events.map(chargeGivenAt))).flat().sort((a, b) => a - b);
  expect(given).toHaveLength(crossings);
  // At the beginning as many again as in a second may go at once; in the last second a slow server may have noted too late.
  const most = (seconds: number) => limit * (2 + seconds + 1);
  for (const [first, from] of given.entries())
    for (const [last, to] of given.entries()) if (last > first) expect(last - first + 1).toBeLessThanOrEqual(most((to - from) / 1_000));
});
