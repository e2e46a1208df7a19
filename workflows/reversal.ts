/**
 * Money of one recharge has gone back to the customer without us: take the quota back, and give it back should the money
 * come again. One run for a recharge at a time; every refund and dispute of it is looked at, whatever event started the run.
 */
import { ApplicationFailure, condition, proxyActivities, setCurrentDetails, setHandler } from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';
import { FAILURE } from '../src/domain/failures.ts';
import { type ReversalInput, stripeChanged } from './contract.ts';
import { HEARTBEAT_TIMEOUT } from './liveness.ts';

/** A dispute takes weeks; looks without an event are only for events that were lost. */
const LOOK_EVERY = '6 hours';
/** Disputes end within a few months. */
const MAX_LOOKS = 1_000;

// Reads Stripe and notes what it finds, for as long as either is away, or the recharge is still being worked on.
const { findReversals } = proxyActivities<Activities>({
  startToCloseTimeout: '90 seconds',
  heartbeatTimeout: HEARTBEAT_TIMEOUT,
  retry: { initialInterval: '1 second', maximumInterval: '1 minute' },
});

// The money has moved already, so LiteLLM is asked until it follows, however long it is away.
const { takeBackQuota, giveBackQuota } = proxyActivities<Activities>({
  startToCloseTimeout: '1 minute',
  heartbeatTimeout: HEARTBEAT_TIMEOUT,
  retry: {
    initialInterval: '500 milliseconds',
    maximumInterval: '30 seconds',
  },
});

export async function reversalWorkflow({ rechargeId }: ReversalInput): Promise<void> {
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
      else await giveBackQuota.executeWithOptions({ summary }, [{ reversalId }]);
    }
    // After a step, what came of it is looked at once more.
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
