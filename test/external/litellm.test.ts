/**
 * The whole path against the real LiteLLM proxy: its own budget enforcement, spend flushing and native alert
 * at one end, our ledger at the other, the Stripe stand-in between. Run by `npm run test:litellm`.
 *
 * The proxy is started from `LIVE_LITELLM_START` (by default `../shared/live-litellm/start`), or is one that
 * already runs: `LITELLM_URL` and `LITELLM_MASTER_KEY`, see `live-litellm.ts`.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { quotaFromDollars } from '../../src/domain/money.ts';
import { KmsClient } from '../../src/kms/client.ts';
import { alertBody, type Organization, World } from '../support/world.ts';
import { LiveLitellm, START_TIMEOUT_MS } from './live-litellm.ts';

/** A recharge waits until LiteLLM has flushed the spend that the alert tells of. */
const RECHARGE_TIMEOUT_MS = 60_000;
/** Three calls of $0.000225 cross it. */
const TINY_BUDGET = 0.0005;
/** LiteLLM sends an alert for each of them, unless one has been answered already. */
const REFUSED_AT_ONCE = 10;
/** No team here gets more calls than this for its money. */
const MAX_CALLS = 20;

let litellm: LiveLitellm;
let refused: number;
let world: World;

beforeAll(async () => {
  litellm = await LiveLitellm.locate();
  world = await World.start({ KMS_BASE_URL: litellm.url, KMS_API_KEY: litellm.masterKey, PORT: litellm.apiPort });
  await litellm.start(world.apiUrl);
  refused = await litellm.refusedStatus();
}, START_TIMEOUT_MS);

afterAll(async () => {
  await litellm?.stop();
  await world?.close();
});

describe("LiteLLM's own alert", () => {
  test('ends with one charge, a raised budget and a team that is served again', async () => {
    const organization = await world.organization({ budget: TINY_BUDGET, spend: 0, minimum: '0.00', target: '1.00' });
    expect(await spendUntilRefused(organization.teamKey)).toBe(3);
    const [event] = await alertsOf(organization.teamId);
    expect(await world.closed(event?.id ?? '', RECHARGE_TIMEOUT_MS)).toEqual({ outcome: 'succeeded', success: true });

    expect((await litellm.chat(organization.teamKey)).status).toBe(200);
    expect(await world.budgetOf(organization.teamId)).toBe(1.0105);
    expect(await world.books(organization)).toEqual({ charges: 1, captured: 101, refunded: 0, granted: 101, prepaid: 0 });
    expect(Object.keys(event?.payload ?? {}).sort()).toEqual(Object.keys(alertBody('')).sort());
  });

  test('in many copies, one for each of many requests refused at once, is one charge', async () => {
    const organization = await world.organization({ budget: TINY_BUDGET, spend: 0, minimum: '0.00', target: '1.00' });
    for (let call = 0; call < 3; call++) expect((await litellm.settledChat(organization.teamKey)).status).toBe(200);
    const answers = await whileInboxIsLocked(() =>
      Promise.all(Array.from({ length: REFUSED_AT_ONCE }, () => litellm.chat(organization.teamKey))),
    );
    expect(answers.map(({ status }) => status)).toEqual(Array(REFUSED_AT_ONCE).fill(refused));

    const first = await world.eventually(async () => {
      const [seen, ...others] = await alertsOf(organization.teamId);
      expect(others).toEqual([]);
      return seen?.copies === REFUSED_AT_ONCE - 1 && seen;
    }, 'a copy of the alert for every refused request');
    expect(await world.closed(first.id, RECHARGE_TIMEOUT_MS)).toEqual({ outcome: 'succeeded', success: true });
    expect(await world.books(organization)).toEqual({ charges: 1, captured: 101, refunded: 0, granted: 101, prepaid: 0 });
  });

  test('of a second crossing is a second charge', async () => {
    // A dollar buys so little here that what was bought is used up after three more calls. A cent buys ten micro-dollars.
    const settings = { quota_per_unit: '0.001' };
    const organization = await world.organization({ budget: TINY_BUDGET, spend: 0, minimum: '0.00', target: '0.0005', settings });
    let budget = TINY_BUDGET;
    for (let charges = 1; charges <= 2; charges++) {
      await rechargedAfterAlert(organization, budget);
      const { captured, ...books } = await world.books(organization);
      expect(books).toEqual({ charges, refunded: 0, granted: captured, prepaid: 0 });
      budget = (await world.budgetOf(organization.teamId)) ?? Number.NaN;
      expect(budget).toBeCloseTo(TINY_BUDGET + captured * 0.00001, 6);
    }
    expect((await litellm.chat(organization.teamKey)).status).toBe(200);
  });

  test('about a team of no organization is taken and charged to nobody', async () => {
    const before = await chargeCount();
    const { teamId, key } = await unmanagedTeamOverBudget();
    expect(await alertsOf(teamId)).toMatchObject([{ processed: true, success: false, outcome: 'unknown_team' }]);

    // LiteLLM sends an alert again, in the background of the next call that it refuses, unless it was answered 2xx.
    expect((await litellm.chat(key)).status).toBe(refused);
    const later = await unmanagedTeamOverBudget();
    await alertsOf(later.teamId);
    expect(await alertsOf(teamId)).toHaveLength(1);
    expect(await chargeCount()).toBe(before);
  });
});

describe('our LiteLLM client', () => {
  test('reads and sets a budget, and leaves the rest of the team alone', async () => {
    const kms = clientAs();
    const teamId = await newTeam({ max_budget: 10, soft_budget: 2, metadata: { owner: 'somebody else' }, models: ['fake'] });
    expect(await kms.teamBudget(teamId)).toEqual({
      blocked: false,
      quota: quotaFromDollars(10),
      spend: quotaFromDollars(0),
      softBudget: quotaFromDollars(2),
      budgetDuration: null,
      hasBudgetLimits: false,
    });
    await kms.setTeamBudget(teamId, quotaFromDollars(12.345678));
    expect(await kms.teamBudget(teamId)).toMatchObject({ quota: quotaFromDollars(12.345678), softBudget: quotaFromDollars(2) });
    const { data } = await litellm.as().get('/team/info', { params: { team_id: teamId } });
    expect(data.team_info).toMatchObject({ metadata: { owner: 'somebody else' }, models: ['fake'] });
  });

  test('sees what makes a team unfit for a recharge', async () => {
    const kms = clientAs();
    expect(await kms.teamBudget(await newTeam({}))).toMatchObject({ quota: null });
    expect(await kms.teamBudget(await newTeam({ max_budget: 1, budget_duration: '30d' }))).toMatchObject({ budgetDuration: '30d' });
    const budget_limits = [{ budget_duration: '1d', max_budget: 1 }];
    expect(await kms.teamBudget(await newTeam({ max_budget: 1, budget_limits }))).toMatchObject({ hasBudgetLimits: true });
  });

  test('tells an unknown team from a wrong key, a forbidden route and a value that is none', async () => {
    const kms = clientAs();
    const teamId = await newTeam({ max_budget: 1 });
    await expect(kms.teamBudget('nobody')).rejects.toMatchObject({ kind: 'not_found' });
    await expect(kms.setTeamBudget('nobody', quotaFromDollars(1))).rejects.toMatchObject({ kind: 'not_found' });
    await expect(kms.setTeamBudget(teamId, quotaFromDollars(-1))).rejects.toMatchObject({ kind: 'invalid' });

    const stranger = clientAs('sk-somebody-unknown-to-litellm');
    await expect(stranger.teamBudget(teamId)).rejects.toMatchObject({ kind: 'unauthenticated' });
    await expect(stranger.setTeamBudget(teamId, quotaFromDollars(5))).rejects.toMatchObject({ kind: 'unauthenticated' });

    const { data } = await litellm.as().post('/key/generate', { allowed_routes: ['/team/info'] });
    await expect(clientAs(data.key).setTeamBudget(teamId, quotaFromDollars(5))).rejects.toMatchObject({ kind: 'forbidden' });
    expect(await kms.teamBudget(teamId)).toMatchObject({ quota: quotaFromDollars(1) });
  });

  test('measures a round trip', async () => {
    const started = performance.now();
    const took = await clientAs().ping();
    expect(took).toBeGreaterThan(0);
    expect(took).toBeLessThanOrEqual(performance.now() - started);
  });
});

function clientAs(apiKey = litellm.masterKey): KmsClient {
  return new KmsClient({ baseUrl: litellm.url, apiKey });
}

async function newTeam(wish: object): Promise<string> {
  const { data, status } = await litellm.as().post('/team/new', wish);
  expect(status).toBe(200);
  return data.team_id;
}

/** Calls the model until LiteLLM refuses for want of budget, and returns how many calls it let through. */
async function spendUntilRefused(key: string): Promise<number> {
  for (let calls = 0; calls < MAX_CALLS; calls++) {
    const { status, data } = await litellm.settledChat(key);
    if (status === 200) continue;
    expect(status).toBe(refused);
    expect(data.error.type).toBe('budget_exceeded');
    return calls;
  }
  throw new Error(`LiteLLM let ${MAX_CALLS} calls through`);
}

/** A team that no organization has, and that LiteLLM has refused. */
async function unmanagedTeamOverBudget(): Promise<{ teamId: string; key: string }> {
  const teamId = await newTeam({ max_budget: TINY_BUDGET });
  const { data } = await litellm.as().post('/key/generate', { team_id: teamId });
  await spendUntilRefused(data.key);
  return { teamId, key: data.key };
}

/**
 * Spends until refused, goes on asking, as clients do, until LiteLLM repeats its alert, and waits for the
 * recharge.
 */
async function rechargedAfterAlert({ teamId, teamKey }: Organization, budget: number): Promise<void> {
  await spendUntilRefused(teamKey);
  const alert = await world.eventually(async () => {
    const known = (await alertsOf(teamId)).find(({ payload }) => payload['max_budget'] === budget);
    if (!known) await litellm.chat(teamKey);
    return known;
  }, `an alert about the budget of ${budget}`);
  expect(await world.closed(alert.id, RECHARGE_TIMEOUT_MS)).toEqual({ outcome: 'succeeded', success: true });
}

type StoredAlert = {
  id: string;
  payload: Record<string, unknown>;
  processed: boolean;
  success: boolean | null;
  outcome: string | null;
  copies: number;
};

/** What arrived about a team; waits for the first, which LiteLLM sends while it refuses a call. */
async function alertsOf(teamId: string): Promise<StoredAlert[]> {
  return world.eventually(async () => {
    const { rows } = await world.sql.query('select * from webhook_event where team_id = $1 order by id', [teamId]);
    return rows.length > 0 && rows;
  }, `an alert about ${teamId}`);
}

/** Nothing is stored, and so no alert answered, before `work` is done. */
async function whileInboxIsLocked<T>(work: () => Promise<T>): Promise<T> {
  const client = await world.sql.connect();
  try {
    await client.query('begin; lock table webhook_event in exclusive mode');
    return await work();
  } finally {
    await client.query('rollback');
    client.release();
  }
}

async function chargeCount(): Promise<number> {
  return (await world.stripe.charges.list({ limit: 100 })).data.length;
}
