/**
 * How much a team will have spent before the next look at it, from what the sweeps have seen of its spend.
 *
 * Spend only grows, except where LiteLLM sets it back (`budget_duration`), and a raised budget does not touch
 * it. LiteLLM flushes it every 10 to 15 s, so what we see of it comes in steps.
 */
import type { QuotaMicros } from './money.ts';

/** A team's spend as KMS showed it so long ago, by the database's clock. */
export type SpendSample = { agoMs: number; spend: QuotaMicros };

/** How often every balance is looked at, and what the schedule's jitter adds to that at most. */
export const SWEEP_INTERVAL_MS = 60_000;
export const SWEEP_JITTER_MS = 5_000;
/** What was spent is shown this much later. */
const SPEND_LAG_MS = 15_000;
/** From the event to the raised budget: a second or two, with a slow answer from Stripe and from LiteLLM. */
const RECHARGE_MS = 10_000;

/**
 * What a balance has to last for: until the budget is raised by a recharge that the next sweep would find to
 * be needed.
 */
export const FORECAST_HORIZON_MS = SWEEP_INTERVAL_MS + SWEEP_JITTER_MS + SPEND_LAG_MS + RECHARGE_MS;

/** Older samples say nothing about how fast a team spends now. */
export const SPEND_WINDOW_MS = 10 * 60_000;
/**
 * Two flushes: over a shorter stretch one step of spend looks like a blaze. A steady spender is overrated by
 * half at most.
 */
const MIN_STRETCH_MS = 30_000;

/**
 * What the team will spend within FORECAST_HORIZON_MS if it goes on at the fastest pace of any stretch that
 * ends now: a spender who has just begun counts at once, one who has stopped counts less with every minute.
 *
 * @param samples of the last SPEND_WINDOW_MS, in any order. Without one that is old enough nothing is
 *   expected.
 * @param spend as it is now.
 */
export function expectedSpend(samples: readonly SpendSample[], spend: QuotaMicros): QuotaMicros {
  let spent = 0;
  let fastest = 0;
  let later = spend;
  for (const sample of samples.toSorted((a, b) => a.agoMs - b.agoMs)) {
    if (sample.agoMs > SPEND_WINDOW_MS) break;
    // Less than before: LiteLLM has set the spend back, and what was spent around that moment is unknown.
    spent += Math.max(0, later - sample.spend);
    later = sample.spend;
    if (sample.agoMs >= MIN_STRETCH_MS) fastest = Math.max(fastest, spent / sample.agoMs);
  }
  return Math.min(Math.ceil(fastest * FORECAST_HORIZON_MS), Number.MAX_SAFE_INTEGER) as QuotaMicros;
}
