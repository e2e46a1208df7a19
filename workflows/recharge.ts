/**
 * One event, one run: check the limits, charge the card, raise the budget by what was paid.
 *
 * A run can be cancelled until the card is charged. From then on it finishes: with the quota raised, the
 * charge refunded, nothing charged, or a recharge that an operator has to settle.
 */

import type { SearchAttributeUpdatePair } from '@temporalio/common';
import {
  ActivityCancellationType,
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  condition,
  isCancellation,
  log,
  patched,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  sleep,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';
import type { ChargeResult, LimitsResult, QuotaResult, RefundResult, ReservedRecharge } from '../activities/recharge/types.ts';
import type { EventOutcome } from '../src/domain/event-outcome.ts';
import { FAILURE } from '../src/domain/failures.ts';
import { parseQuota } from '../src/domain/money.ts';
import type { Refusal } from '../src/domain/policy.ts';
import type { RechargeStatus } from '../src/domain/recharge-status.ts';
import { amountMinorKey, rechargeStatusKey } from '../src/temporal/search-attributes.ts';
import { type RechargeInput, type RechargeResult, stripeChanged } from './contract.ts';
import { readWholeInput, TEXT } from './input.ts';
import { HEARTBEAT_TIMEOUT } from './liveness.ts';
import { reasonOf } from './reason.ts';

/**
 * LiteLLM flushes spend every 10 to 15 s, later where its `proxy_batch_write_at` says so, and up to 114 s
 * after a start. An alert that still reports more spend than LiteLLM shows after 150 s is not believed.
 */
const FLUSH_LOOKS = 30;
const FLUSH_PAUSE = '5 seconds';

/** A bank debit settles in hours or days: looked at soon for the quick ones, then four times a day. */
const SETTLE_PAUSE_FIRST_MS = 10_000;
const SETTLE_PAUSE_LAST_MS = 6 * 60 * 60 * 1000;

/** For runs without TOLD_BY_ITS_MOVES: an operator has to look at a recharge that is not settled by then. */
const ALARM_AFTER = '24 hours';

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
 * A patch. A run that has it tells nothing itself: each move of its recharge is stored with its outbound
 * event, and the sweep tells what is overdue. One that had reserved before goes on with the two steps below.
 */
const TOLD_BY_ITS_MOVES = 'told-by-its-moves';

// For runs without TOLD_BY_ITS_MOVES. What such a run has not told after three days is not told.
const { notify, raiseAlarm } = proxyActivities<Activities>({
  startToCloseTimeout: '30 seconds',
  heartbeatTimeout: HEARTBEAT_TIMEOUT,
  scheduleToCloseTimeout: '3 days',
  retry: { initialInterval: '1 second', maximumInterval: '1 hour' },
});

export async function rechargeWorkflow(input: RechargeInput): Promise<RechargeResult> {
  const { eventId } = readWholeInput(input, { eventId: TEXT });
  const stripe = listenToStripe();
  let limits: LimitsResult;
  try {
    limits = await checkLimitsOnFlushedSpend(eventId);
    if (CancellationScope.current().consideredCancelled) throw new CancelledFailure('cancelled before the card was charged');
  } catch (error) {
    // The run ends before the card is charged. An event that stayed open would block the next alerts.
    await CancellationScope.nonCancellable(() => releaseReservation({ eventId }));
    throw error;
  }
  if (limits.kind !== 'reserved') return CancellationScope.nonCancellable(() => finishUncharged(eventId, endingOf(limits)));

  const { recharge } = limits;
  const isTold = patched(TOLD_BY_ITS_MOVES);
  show({ key: amountMinorKey, value: recharge.amountMinor });
  showStatus(recharge, 'reserved', 'The amount is reserved; the card is charged next.');
  const charge = await chargeUnlessCancelled(eventId, recharge);
  return CancellationScope.nonCancellable(async () => {
    const settle = () => grantOrRefund(recharge, charge, stripe);
    const settled = isTold ? settle() : withAlarm(eventId, recharge, settle);
    const ending = await settled.catch((error): RechargeEnding => ({ outcome: 'needs_attention', detail: reasonOf(error) }));
    await closeRecharge(eventId, recharge, ending);
    if (!isTold) await notifyEnding(eventId, recharge, ending);
    return resultOf(recharge, ending);
  });
}

/** How an event ends that no recharge was reserved for. */
type Ending = { outcome: EventOutcome; detail: string };
/** How a recharge ends: its event's outcome is its status, or what it was called off for. */
type RechargeEnding = { outcome: Extract<EventOutcome, RechargeStatus>; detail: string; refusal?: Refusal | undefined };

function endingOf(limits: Exclude<LimitsResult, { kind: 'reserved' }>): Ending {
  if (limits.kind === 'refused') return { outcome: limits.outcome, detail: `Nothing charged: ${limits.reason}.` };
  // A worker of the version before says neither outcome nor reason.
  const flushing: Partial<typeof limits> = limits;
  const { balance, outcome = 'spend_not_shown', reason = 'the alert reports more spend than LiteLLM shows' } = flushing;
  return { outcome, detail: `Nothing charged, at a balance of ${balance}: ${reason}.` };
}

/**
 * A cancelled run releases its reservation. When the card may have been charged it is too late, and the
 * charge goes on.
 */
async function chargeUnlessCancelled(eventId: string, recharge: ReservedRecharge): Promise<ChargeResult> {
  try {
    return await charge(recharge);
  } catch (error) {
    // Not by the error's type: the attempt that a cancellation waits for can fail in any way, and Temporal
    // makes no further one.
    if (!CancellationScope.current().consideredCancelled) throw error;
    return CancellationScope.nonCancellable(async () => {
      if ((await releaseReservation({ eventId })).released) throw error;
      return charge(recharge);
    });
  }
}

function charge(recharge: ReservedRecharge): Promise<ChargeResult> {
  return chargeStripe.executeWithOptions({ summary: `charge ${recharge.amount} to ${recharge.organizationId}` }, [
    { rechargeId: recharge.rechargeId },
  ]);
}

/** From the charge on: grant what is captured, or give it back. */
async function grantOrRefund(recharge: ReservedRecharge, first: ChargeResult, stripe: StripeSignals): Promise<RechargeEnding> {
  let charged = first;
  for (let pause = SETTLE_PAUSE_FIRST_MS; charged.kind === 'processing'; pause = Math.min(pause * 2, SETTLE_PAUSE_LAST_MS)) {
    showStatus(recharge, 'processing', 'The bank is processing the payment; no quota is given before it has settled.');
    await stripe.next(pause);
    charged = await charge(recharge);
  }
  if (charged.kind === 'ended') return { outcome: charged.outcome, detail: charged.reason, refusal: charged.refusal };
  try {
    return await grant(recharge, charged.at);
  } catch (failure) {
    // The compensation. It refunds only what is held and not granted, so it is right after any failure.
    return refund(recharge, reasonOf(failure), stripe);
  }
}

type StripeSignals = {
  /** Waits for a signal that Stripe has changed something, `pauseMs` at most. */
  next: (pauseMs: number) => Promise<void>;
};

function listenToStripe(): StripeSignals {
  let isSignalled = false;
  setHandler(stripeChanged, () => {
    isSignalled = true;
  });
  return {
    next: async (pauseMs) => {
      await condition(() => isSignalled, pauseMs);
      isSignalled = false;
    },
  };
}

/** An alert carries LiteLLM's live spend; what we read is flushed later. Reads again until it is flushed. */
async function checkLimitsOnFlushedSpend(eventId: string): Promise<LimitsResult> {
  for (let look = 1; ; look++) {
    const limits = await checkLimits.executeWithOptions({ summary: 'read the live balance, apply the policy, reserve' }, [{ eventId }]);
    if (limits.kind !== 'spend_flushing' || look === FLUSH_LOOKS) return limits;
    await sleep(FLUSH_PAUSE, { summary: 'LiteLLM is flushing spend' });
  }
}

async function grant(recharge: ReservedRecharge, capturedAt: string): Promise<RechargeEnding> {
  const { rechargeId } = recharge;
  await recordRecharge.executeWithOptions({ summary: `ledger: stripe → prepaid ${recharge.amount}` }, [{ rechargeId, capturedAt }]);
  showStatus(recharge, 'charged', 'The charge is captured and in the ledger; the quota is raised next.');
  const quota: QuotaResult = await updateKmsQuota.executeWithOptions({ summary: `raise the budget of ${recharge.teamId}` }, [
    { rechargeId },
  ]);
  if (quota.kind === 'needs_attention') return { outcome: 'needs_attention', detail: quota.reason };
  return { outcome: 'succeeded', detail: `Quota raised from ${quota.before} to ${quota.after}.` };
}

async function refund(recharge: ReservedRecharge, reason: string, stripe: StripeSignals): Promise<RechargeEnding> {
  log.warn('refunding: the quota cannot be raised', { rechargeId: recharge.rechargeId, reason });
  showStatus(recharge, 'refunding', `The quota cannot be raised, so the charge is refunded: ${reason}`);
  const ask = (): Promise<RefundResult> =>
    refundCharge.executeWithOptions({ summary: `refund ${recharge.amount} to ${recharge.organizationId}` }, [
      { rechargeId: recharge.rechargeId, reason },
    ]);
  let refunded = await ask();
  for (let pause = SETTLE_PAUSE_FIRST_MS; refunded.kind === 'pending'; pause = Math.min(pause * 2, SETTLE_PAUSE_LAST_MS)) {
    await stripe.next(pause);
    refunded = await ask();
  }
  if (refunded.kind === 'refunded') return { outcome: 'refunded', detail: `${recharge.amount} refunded: ${reason}` };
  if (refunded.kind === 'settled') return { outcome: refunded.outcome, detail: `A person has settled it, after: ${reason}` };
  const detail = refunded.kind === 'needs_attention' ? refunded.reason : `nothing is held that could be refunded, after: ${reason}`;
  return { outcome: 'needs_attention', detail };
}

/** Closes the event of a run that has no recharge, and so no status of one. */
async function finishUncharged(eventId: string, { outcome, detail }: Ending): Promise<RechargeResult> {
  show({ key: rechargeStatusKey, value: null });
  setCurrentDetails(`**${outcome}** — ${detail}`);
  await closeEvent.executeWithOptions({ summary: outcome }, [{ eventId, outcome }]);
  return { outcome, rechargeId: null, detail };
}

/** A worker of the version before takes `recharged` only; `closeEvent` stores `succeeded` for it. */
function inputNameOf(outcome: EventOutcome): EventOutcome | 'recharged' {
  return outcome === 'succeeded' ? 'recharged' : outcome;
}

async function closeRecharge(eventId: string, recharge: ReservedRecharge, { outcome, detail, refusal }: RechargeEnding): Promise<void> {
  showStatus(recharge, outcome, detail);
  await closeEvent.executeWithOptions({ summary: refusal ?? outcome }, [{ eventId, outcome: refusal ?? inputNameOf(outcome) }]);
}

async function notifyEnding(eventId: string, recharge: ReservedRecharge, { outcome, detail }: RechargeEnding): Promise<void> {
  try {
    await notify.executeWithOptions({ summary: `recharge.${outcome}` }, [{ eventId, outcome, recharge, detail }]);
  } catch (error) {
    log.error('the notification was not delivered', { outcome, reason: reasonOf(error) });
  }
}

/** A run that an operator has to settle ends failed, so that it shows red. */
function resultOf(recharge: ReservedRecharge, { outcome, detail, refusal }: RechargeEnding): RechargeResult {
  if (outcome === 'needs_attention') throw ApplicationFailure.nonRetryable(detail, FAILURE.needsAttention);
  return { outcome: refusal ?? outcome, rechargeId: recharge.rechargeId, detail };
}

/** Runs `work`, and raises the alarm when it is not done after a day. The work goes on. */
async function withAlarm<T>(eventId: string, recharge: ReservedRecharge, work: () => Promise<T>): Promise<T> {
  const watch = new CancellationScope({ cancellable: true });
  const watched = watch
    .run(async () => {
      await sleep(ALARM_AFTER, { summary: 'raise the alarm if this is not settled' });
      const detail = `${recharge.amount} of ${recharge.organizationId} is not settled after ${ALARM_AFTER}: the bank is still processing it, or the money is held, neither granted nor refunded`;
      await raiseAlarm.executeWithOptions({ summary: 'overdue' }, [{ eventId, recharge, detail }]);
    })
    .catch((error) => {
      if (!isCancellation(error)) log.error('the alarm could not be raised', { reason: reasonOf(error) });
    });
  try {
    return await work();
  } finally {
    watch.cancel();
    await watched;
  }
}

/**
 * Changes a search attribute that the run was started with. The namespace may lack any other, and one that it lacks
 * would stop the run. A run that began before this rule changes all of them.
 */
function show(attribute: SearchAttributeUpdatePair): void {
  const hasIt = workflowInfo().typedSearchAttributes.get(attribute.key) !== undefined;
  if (hasIt || !patched('changes-only-its-own-search-attributes')) upsertSearchAttributes([attribute]);
}

/** What the Temporal Web UI shows of the run: its status as a search attribute, and its details so far. */
function showStatus(recharge: ReservedRecharge, status: RechargeStatus, line: string): void {
  const { organizationId, organizationName, teamId, amount, eventType, balance, minimumBalance } = recharge;
  show({ key: rechargeStatusKey, value: status });
  const details = [
    `**${organizationName}** (${organizationId}), team ${teamId}: **${amount}**`,
    `Because ${eventType} reported it and the balance was ${balance}, ${comparedToMinimum(recharge)} the minimum of ${minimumBalance}.`,
    `**${status}** — ${line}`,
  ];
  setCurrentDetails(details.join('\n\n'));
}

function comparedToMinimum({ balance, minimumBalance, source }: ReservedRecharge): string {
  if (parseQuota(balance) <= parseQuota(minimumBalance)) return 'at or below';
  return source === 'sweep' ? 'which would soon have fallen to' : 'of which a call reserves more than is left, though it is above';
}
