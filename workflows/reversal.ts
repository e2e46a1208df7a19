/**
 * Money of one recharge has gone back to the customer without us: take the quota back, give it back when the
 * money comes again, and take it back once more when the money goes once more. One run for a recharge at a
 * time; every refund and dispute of it is looked at, whatever event started the run.
 */
import { ApplicationFailure, condition, proxyActivities, setCurrentDetails, setHandler } from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';
import { FAILURE } from '../src/domain/failures.ts';
import { type ReversalInput, stripeChanged } from './contract.ts';
import { readWholeInput, TEXT } from './input.ts';
import { HEARTBEAT_TIMEOUT } from './liveness.ts';

/** A dispute takes weeks; looks without an event are only for events that were lost. */
const LOOK_EVERY = '6 hours';
/** Disputes end within a few months. */
const MAX_LOOKS = 1_000;

// Reads Stripe and records what it finds; retried while Stripe or the database is unavailable, or a run works
// on the recharge.
const { findReversals } = proxyActivities<Activities>({
  startToCloseTimeout: '90 seconds',
  heartbeatTimeout: HEARTBEAT_TIMEOUT,
  retry: { initialInterval: '1 second', maximumInterval: '1 minute' },
});

// The money has moved already, so the budget has to follow it, however long LiteLLM is unavailable.
const { takeBackQuota, giveBackQuota } = proxyActivities<Activities>({
  startToCloseTimeout: '1 minute',
  heartbeatTimeout: HEARTBEAT_TIMEOUT,
  retry: {
    initialInterval: '500 milliseconds',
    maximumInterval: '30 seconds',
  },
});

export async function reversalWorkflow(input: ReversalInput): Promise<void> {
  const { rechargeId } = readWholeInput(input, { rechargeId: TEXT });
  let changed = false;
  setHandler(stripeChanged, () => {
    changed = true;
  });
  for (let look = 0; look < MAX_LOOKS; look++) {
    changed = false;
    const { steps, parked, isFinal } = await findReversals.executeWithOptions({ summary: 'refunds and disputes as Stripe has them' }, [
      { rechargeId },
    ]);
    for (const { reversalId, step } of steps) {
      setCurrentDetails(`${step} the quota of ${reversalId}, recharge ${rechargeId}`);
      const summary = `${step} for ${reversalId}`;
      if (step === 'take_back') await takeBackQuota.executeWithOptions({ summary }, [{ reversalId }]);
      // Also `dismiss`, which runs that began earlier have as `never_mind`.
      else await giveBackQuota.executeWithOptions({ summary }, [{ reversalId }]);
    }
    // A step may make room for money that waited for it, so look again.
    if (steps.length > 0 || changed) continue;
    if (parked.length > 0) {
      throw ApplicationFailure.nonRetryable(
        `a person has to settle ${parked.join(', ')} of recharge ${rechargeId}`,
        FAILURE.needsAttention,
      );
    }
    if (isFinal) return;
    await condition(() => changed, LOOK_EVERY);
  }
}
