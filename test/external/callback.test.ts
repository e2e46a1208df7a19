/**
 * The callback inside the real LiteLLM proxy, which sends no alert of its own here: teams are refilled before
 * they are refused. Run by `npm run test:litellm`.
 */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { freePort } from '../../sandbox/ports.ts';
import { HMAC_SECRET, type Organization, World } from '../support/world.ts';
import { LiveLitellm, START_TIMEOUT_MS } from './live-litellm.ts';

/** LiteLLM flushes spend to its database late after a start, and every few seconds from then on. */
const FIRST_FLUSH_TIMEOUT_MS = 180_000;
const RECHARGE_TIMEOUT_MS = 60_000;

/** A call costs $0.000225. */
const CALL_EVERY_MS = 500;
/**
 * 120 calls, so a minute: longer than a flush on a machine with much else to do (25 s were seen), a look at
 * it and a recharge take.
 */
const THRESHOLD = 0.027;
/** 24 calls more. */
const TARGET = 0.0324;
/** A dollar buys so little here that every top-up is above Stripe's minimum. */
const SETTINGS = { quota_per_unit: '0.001', max_daily_recharges: 100 };
const TOP_UPS = 10;
const TEN_TOP_UPS_TIMEOUT_MS = 15 * 60_000;

let litellm: LiveLitellm;
let world: World;

beforeAll(async () => {
  litellm = await LiveLitellm.own();
  // A port of its own: one test stops the API and starts it again.
  world = await World.start({ KMS_BASE_URL: litellm.url, KMS_API_KEY: litellm.masterKey, PORT: String(await freePort()) });
  await litellm.start(world.apiUrl, {
    WEBHOOK_URL: '',
    LITELLM_ALERTING: '[]',
    LITELLM_CALLBACK_DIR: fileURLToPath(new URL('../../integrations/litellm', import.meta.url)),
    LITELLM_CALLBACKS: '"bill_service_callback.handler"',
    BILL_SERVICE_URL: world.apiUrl,
    BILL_SERVICE_WEBHOOK_SECRET: HMAC_SECRET,
    BILL_SERVICE_ALERT_BELOW_USD: String(THRESHOLD),
  });
  await firstFlush();
}, START_TIMEOUT_MS + FIRST_FLUSH_TIMEOUT_MS);

afterAll(async () => {
  await litellm?.stop();
  await world?.close();
});

describe('the callback', () => {
  test(
    'keeps a team that spends steadily from ever being refused, over ten top-ups',
    async () => {
      const organization = await organizationWith({ budget: TARGET, minimum: THRESHOLD, target: TARGET });
      const refused: number[] = [];
      while ((await succeeded(organization)) < TOP_UPS) {
        const [{ status }] = await Promise.all([litellm.chat(organization.teamKey), pause(CALL_EVERY_MS)]);
        if (status !== 200) refused.push(status);
      }
      expect(refused).toEqual([]);

      // One more may have been asked for by the last calls. LiteLLM may show a call the budget from before the last
      // raise for a minute and more, so one fall may be told of by the marks of two budgets: the second finds it refilled.
      const events = await settledEvents(organization);
      const topUps = events.filter(({ outcome }) => outcome === 'succeeded').length;
      expect([TOP_UPS, TOP_UPS + 1]).toContain(topUps);
      expect(events.filter(({ outcome }) => outcome !== 'succeeded' && outcome !== 'above_minimum')).toEqual([]);
      expect(new Set(events.map(({ delivery_id }) => delivery_id)).size).toBe(events.length);
      const { charges, captured, refunded, granted, prepaid } = await world.books(organization);
      expect({ charges, refunded, granted, prepaid }).toEqual({ charges: topUps, refunded: 0, granted: captured, prepaid: 0 });
      // A cent buys ten micro-dollars.
      expect(await world.budgetOf(organization.teamId)).toBeCloseTo(TARGET + captured * 0.00001, 6);
    },
    TEN_TOP_UPS_TIMEOUT_MS,
  );

  test('tells of a team that LiteLLM refuses, though no call of it has been answered since', async () => {
    const organization = await organizationWith({ budget: 1, minimum: 0, target: 0.001 });
    for (let call = 0; call < 3; call++) expect((await litellm.settledChat(organization.teamKey)).status).toBe(200);
    expect(await eventsOf(organization)).toEqual([]);
    await world.setBudget(organization.teamId, 0.0005);

    expect((await litellm.chat(organization.teamKey)).status).toBe(await litellm.refusedStatus());
    const [event] = await settledEvents(organization);
    expect(event).toMatchObject({ event_type: 'budget_crossed', outcome: 'succeeded' });
    expect((await litellm.chat(organization.teamKey)).status).toBe(200);
    expect(await world.books(organization)).toMatchObject({ charges: 1, refunded: 0, prepaid: 0 });
  });

  test('outlasts a service that is unavailable, and no call waits for it', async () => {
    const organization = await organizationWith({ budget: THRESHOLD + 0.0003, minimum: THRESHOLD, target: TARGET });
    await world.stopApi();
    for (let call = 0; call < 5; call++) expect((await litellm.settledChat(organization.teamKey)).status).toBe(200);
    await world.startApi();

    const [event, ...others] = await settledEvents(organization);
    expect(others).toEqual([]);
    expect(event).toMatchObject({ event_type: 'threshold_crossed', outcome: 'succeeded' });
    expect(await world.books(organization)).toMatchObject({ charges: 1, refunded: 0, prepaid: 0 });
  });
});

/** Amounts in dollars of quota. */
async function organizationWith({ budget, minimum, target }: { budget: number; minimum: number; target: number }): Promise<Organization> {
  return world.organization({ budget, spend: 0, minimum: minimum.toFixed(6), target: target.toFixed(6), settings: SETTINGS });
}

/**
 * Makes one call and waits until its cost is in LiteLLM's database: until then no balance is what it seems.
 */
async function firstFlush(): Promise<void> {
  const { data: team } = await litellm.as().post('/team/new', { max_budget: 1 });
  const { data: key } = await litellm.as().post('/key/generate', { team_id: team.team_id });
  await litellm.chat(key.key);
  await world.eventually(
    async () => (await litellm.as().get('/team/info', { params: { team_id: team.team_id } })).data.team_info.spend > 0,
    'spend flushed to the database',
    FIRST_FLUSH_TIMEOUT_MS,
  );
}

async function succeeded({ id }: Organization): Promise<number> {
  const { rows } = await world.sql.query(
    `select count(*)::int as count from recharge where organization_id = $1 and status = 'succeeded'`,
    [id],
  );
  return rows[0].count;
}

type StoredEvent = { event_type: string; outcome: string | null; delivery_id: string | null; processed: boolean };

/** What the callback has told of a team; nobody else does. */
async function eventsOf({ teamId }: Organization): Promise<StoredEvent[]> {
  const { rows } = await world.sql.query<StoredEvent>('select * from webhook_event where team_id = $1 order by id', [teamId]);
  for (const { delivery_id } of rows) expect(delivery_id).toMatch(/^alert_[0-9a-f]{40}$/);
  return rows;
}

async function settledEvents(organization: Organization): Promise<StoredEvent[]> {
  return world.eventually(
    async () => {
      const events = await eventsOf(organization);
      return events.length > 0 && events.every(({ processed }) => processed) && events;
    },
    `events of ${organization.teamId}, all settled`,
    RECHARGE_TIMEOUT_MS,
  );
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
