/**
 * The sweep against the real LiteLLM proxy, whose alerts are switched off: a team that spends steadily is
 * recharged again and again before it is refused. Run by `npm run test:litellm`.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { World } from '../support/world.ts';
import { LiveLitellm, START_TIMEOUT_MS } from './live-litellm.ts';

/** Of $0.000225 each: the spend of some six recharges. */
const CALLS = 30;
const CALL_PAUSE_MS = 2_000;
/** Instead of a minute, as the minimum here lasts for nine calls only. */
const SWEEP_PAUSE_MS = 2_000;
const BUDGET = 0.004;
const MINIMUM = 0.002;
/**
 * The calls take 0.00675: what is left of the budget, and then at most from the minimum to the target with
 * each recharge.
 */
const FEWEST_RECHARGES = 3;
/** A recharge buys half a thousandth at least, for that is what Stripe's smallest charge is worth here. */
const MOST_RECHARGES = 12;

let litellm: LiveLitellm;
let world: World;

beforeAll(async () => {
  litellm = await LiveLitellm.locate();
  world = await World.start({ KMS_BASE_URL: litellm.url, KMS_API_KEY: litellm.masterKey, PORT: litellm.apiPort });
  await litellm.start(world.apiUrl, { LITELLM_ALERTING: '[]' });
}, START_TIMEOUT_MS);

afterAll(async () => {
  await litellm?.stop();
  await world?.close();
});

test('a team that spends steadily is never refused, by the sweep alone', async () => {
  // A dollar buys so little here that a recharge is used up after five calls.
  const settings = { quota_per_unit: '0.001', max_daily_recharges: 100 };
  const organization = await world.organization({ budget: BUDGET, spend: 0, minimum: String(MINIMUM), target: '0.003', settings });
  const { teamId, teamKey } = organization;

  let spending = true;
  const sweeping = (async () => {
    while (spending) {
      await world.sweep();
      await pause(SWEEP_PAUSE_MS);
    }
  })();
  const answers: number[] = [];
  for (let call = 0; call < CALLS; call++) {
    answers.push((await litellm.chat(teamKey)).status);
    await pause(CALL_PAUSE_MS);
  }
  spending = false;
  await sweeping;
  expect(answers).toEqual(Array(CALLS).fill(200));

  const events = await world.eventually(async () => {
    const { rows } = await world.sql.query('select source, outcome from webhook_event where team_id = $1', [teamId]);
    return rows.every(({ outcome }) => outcome !== null) && rows;
  }, 'every event is closed');
  const recharges = events.filter(({ outcome }) => outcome === 'succeeded');
  expect(new Set(events.map(({ source }) => source))).toEqual(new Set(['sweep']));
  expect(recharges.length).toBeGreaterThanOrEqual(FEWEST_RECHARGES);
  expect(recharges.length).toBeLessThanOrEqual(MOST_RECHARGES);
  const books = await world.books(organization);
  expect(books).toMatchObject({ charges: recharges.length, refunded: 0, granted: books.captured, prepaid: 0 });
  expect(await world.budgetOf(teamId)).toBeCloseTo(BUDGET + (books.captured / 100) * 0.001, 9);
});

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
