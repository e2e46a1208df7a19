/** The steps of a recharge, as its run takes them: how each is retried, timed out and named in the Temporal Web UI. */
import { ActivityCancellationType, isCancellation, proxyActivities, proxyLocalActivities } from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';
import type { ChargeResult, LimitsResult, QuotaResult, RefundResult, ReservedRecharge } from '../activities/recharge/types.ts';
import type { EventOutcome } from '../src/domain/event-outcome.ts';
import { FAILURE } from '../src/domain/failures.ts';
import { shortSummary } from '../src/domain/short-summary.ts';
import { HEARTBEAT_TIMEOUT } from './liveness.ts';
import { CHARGE_QUEUE } from './queues.ts';

// Moves no money. Retried for as long as LiteLLM or PostgreSQL is unavailable, because the alert does not
// come again. A cancelled run waits for the attempt under way, which may be reserving.
const { checkLimits } = proxyActivities<Activities>({
  startToCloseTimeout: '1 minute',
  heartbeatTimeout: HEARTBEAT_TIMEOUT,
  retry: { initialInterval: '500 milliseconds', maximumInterval: '30 seconds' },
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
});

// Retried without end: only the intent says whether money was taken, and it can be read until it does. 4
// minutes cover eight calls of up to 25 s each. A revoked key is tried once a minute, which is no storm. A
// cancelled run waits for the attempt under way, which may be charging the card.
const { chargeStripe, refundCharge } = proxyActivities<Activities>({
  startToCloseTimeout: '4 minutes',
  heartbeatTimeout: HEARTBEAT_TIMEOUT,
  retry: { initialInterval: '1 second', maximumInterval: '1 minute' },
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
});

// Money is held from here on. Retried until LiteLLM takes the budget, however long it is unavailable. When it
// refuses for good, the charge is refunded.
const { updateKmsQuota } = proxyActivities<Activities>({
  startToCloseTimeout: '1 minute',
  heartbeatTimeout: HEARTBEAT_TIMEOUT,
  retry: {
    initialInterval: '500 milliseconds',
    maximumInterval: '30 seconds',
    nonRetryableErrorTypes: [FAILURE.kmsTeamNotFound, FAILURE.budgetRefused],
  },
});

// One short transaction each. Retried soon after a restart of PostgreSQL, and without end: what they record
// has happened.
const { recordRecharge, closeEvent, releaseReservation } = proxyActivities<Activities>({
  startToCloseTimeout: '30 seconds',
  heartbeatTimeout: HEARTBEAT_TIMEOUT,
  retry: { initialInterval: '250 milliseconds', maximumInterval: '15 seconds' },
});

/**
 * A short step is tried once within the workflow task, as a local activity: one event in the history instead of six,
 * and no way to Temporal and back. What does not succeed at once goes on as an activity, which Temporal times out,
 * retries and shows. Longer than a healthy LiteLLM and PostgreSQL take, and short: a workflow task waits for it. In bad
 * times the worker does not try it (`activities/short-steps.ts`).
 */
const LOCAL_ATTEMPT = '2 seconds';
const local = proxyLocalActivities<Activities>({ startToCloseTimeout: LOCAL_ATTEMPT, retry: { maximumAttempts: 1 } });

async function localFirst<Result>(step: () => Promise<Result>, otherwise: () => Promise<Result>): Promise<Result> {
  try {
    return await step();
  } catch (error) {
    if (isCancellation(error)) throw error;
    return otherwise();
  }
}

export type RechargeSteps = ReturnType<typeof rechargeSteps>;

/** @param isLocalFirst false: of a run that began before short steps were tried within the workflow task. */
export function rechargeSteps(isLocalFirst: boolean) {
  const tryLocally = <Result>(step: () => Promise<Result>, otherwise: () => Promise<Result>) =>
    isLocalFirst ? localFirst(step, otherwise) : otherwise();
  return {
    checkLimits(eventId: string): Promise<LimitsResult> {
      const options = { summary: 'read the live balance, apply the policy, reserve' };
      return tryLocally(
        () => local.checkLimits.executeWithOptions(options, [{ eventId }]),
        () => checkLimits.executeWithOptions(options, [{ eventId }]),
      );
    },

    charge({ rechargeId, amount, organizationId }: ReservedRecharge): Promise<ChargeResult> {
      const queue = isLocalFirst ? { taskQueue: CHARGE_QUEUE } : {};
      return chargeStripe.executeWithOptions({ ...queue, summary: `charge ${amount} to ${organizationId}` }, [{ rechargeId }]);
    },

    record({ rechargeId, amount }: ReservedRecharge, capturedAt: string): Promise<void> {
      const options = { summary: `ledger: stripe → prepaid ${amount}` };
      return tryLocally(
        () => local.recordRecharge.executeWithOptions(options, [{ rechargeId, capturedAt }]),
        () => recordRecharge.executeWithOptions(options, [{ rechargeId, capturedAt }]),
      );
    },

    raiseQuota({ rechargeId, teamId }: ReservedRecharge): Promise<QuotaResult> {
      return updateKmsQuota.executeWithOptions({ summary: shortSummary(`raise the budget of ${teamId}`) }, [{ rechargeId }]);
    },

    refund({ rechargeId, amount, organizationId }: ReservedRecharge, reason: string): Promise<RefundResult> {
      return refundCharge.executeWithOptions({ summary: `refund ${amount} to ${organizationId}` }, [{ rechargeId, reason }]);
    },

    /** `outcome`: a worker of the version before takes `recharged` where ours says `succeeded`. */
    closeEvent(eventId: string, outcome: EventOutcome | 'recharged', summary: string): Promise<void> {
      return tryLocally(
        () => local.closeEvent.executeWithOptions({ summary }, [{ eventId, outcome }]),
        () => closeEvent.executeWithOptions({ summary }, [{ eventId, outcome }]),
      );
    },

    /** The reservation of a run that ends before its card is charged. */
    release(eventId: string): ReturnType<typeof releaseReservation> {
      return releaseReservation({ eventId });
    },
  };
}
