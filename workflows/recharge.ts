/**
 * One event, one run: check the limits, charge the card, raise the budget by what was paid.
 *
 * A run can be cancelled until the card is charged; one that is cancelled during its first look, within the workflow
 * task, hears of it after that, when the charge may have begun. From then on it finishes: with the quota raised, the
 * charge refunded, nothing charged, or a recharge that an operator has to settle.
 */

import { ApplicationFailure, CancellationScope, CancelledFailure, condition, log, patched, setHandler, sleep } from '@temporalio/workflow';
import type { ChargeResult, LimitsResult, ReservedRecharge } from '../activities/recharge/types.ts';
import type { EventOutcome } from '../src/domain/event-outcome.ts';
import { FAILURE } from '../src/domain/failures.ts';
import type { Refusal } from '../src/domain/policy.ts';
import type { RechargeStatus } from '../src/domain/recharge-status.ts';
import { type RechargeInput, type RechargeResult, stripeChanged } from './contract.ts';
import { readWholeInput, TEXT } from './input.ts';
import { reasonOf } from './reason.ts';
import { notifyEnding, TOLD_BY_ITS_MOVES, withAlarm } from './recharge-notices.ts';
import { showReserved, showStatus, showUncharged } from './recharge-shown.ts';
import { type RechargeSteps, rechargeSteps } from './recharge-steps.ts';

/**
 * LiteLLM flushes spend every 10 to 15 s, later where its `proxy_batch_write_at` says so, and up to 114 s
 * after a start. An alert that still reports more spend than LiteLLM shows after 150 s is not believed.
 */
const FLUSH_LOOKS = 30;
const FLUSH_PAUSE = '5 seconds';

/** A bank debit settles in hours or days: looked at soon for the quick ones, then four times a day. */
const SETTLE_PAUSE_FIRST_MS = 10_000;
const SETTLE_PAUSE_LAST_MS = 6 * 60 * 60 * 1000;

/** A patch. A run that has it is also told by its moves, and takes as few events of the history as it can. */
const LOCAL_FIRST = 'local-first';

export async function rechargeWorkflow(input: RechargeInput): Promise<RechargeResult> {
  const { eventId } = readWholeInput(input, { eventId: TEXT });
  // Asked for once, at the beginning: a run that began before goes on as it began.
  const isLocalFirst = patched(LOCAL_FIRST);
  const steps = rechargeSteps(isLocalFirst);
  const stripe = listenToStripe();
  let limits: LimitsResult;
  try {
    limits = await checkLimitsOnFlushedSpend(steps, eventId);
    if (CancellationScope.current().consideredCancelled) throw new CancelledFailure('cancelled before the card was charged');
  } catch (error) {
    // The run ends before the card is charged. An event that stayed open would block the next alerts.
    await CancellationScope.nonCancellable(() => steps.release(eventId));
    throw error;
  }
  if (limits.kind !== 'reserved') return CancellationScope.nonCancellable(() => finishUncharged(steps, eventId, endingOf(limits)));

  const { recharge } = limits;
  const isTold = isLocalFirst || patched(TOLD_BY_ITS_MOVES);
  showReserved(recharge, { isAtOnce: isLocalFirst });
  const charge = await chargeUnlessCancelled(steps, eventId, recharge);
  return CancellationScope.nonCancellable(async () => {
    const settle = () => grantOrRefund(steps, recharge, charge, stripe);
    const settled = isTold ? settle() : withAlarm(eventId, recharge, settle);
    const ending = await settled.catch((error): RechargeEnding => ({ outcome: 'needs_attention', detail: reasonOf(error) }));
    await closeRecharge(steps, eventId, recharge, ending);
    if (!isTold) await notifyEnding(eventId, recharge, ending);
    return resultOf(recharge, ending);
  });
}

/** How an event ends that no recharge was reserved for. */
type Ending = { outcome: EventOutcome; detail: string };
/**
 * How a recharge ends: its event's outcome is its status, or what it was called off for. `isClosed`: the event was
 * closed in the transaction of the last move.
 */
type RechargeEnding = { outcome: Extract<EventOutcome, RechargeStatus>; detail: string; refusal?: Refusal | undefined; isClosed?: true };

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
async function chargeUnlessCancelled(steps: RechargeSteps, eventId: string, recharge: ReservedRecharge): Promise<ChargeResult> {
  try {
    return await steps.charge(recharge);
  } catch (error) {
    // Not by the error's type: the attempt that a cancellation waits for can fail in any way, and Temporal
    // makes no further one.
    if (!CancellationScope.current().consideredCancelled) throw error;
    return CancellationScope.nonCancellable(async () => {
      if ((await steps.release(eventId)).released) throw error;
      return steps.charge(recharge);
    });
  }
}

/** From the charge on: grant what is captured, or give it back. */
async function grantOrRefund(
  steps: RechargeSteps,
  recharge: ReservedRecharge,
  first: ChargeResult,
  stripe: StripeSignals,
): Promise<RechargeEnding> {
  let charged = first;
  for (let pause = SETTLE_PAUSE_FIRST_MS; charged.kind === 'processing'; pause = Math.min(pause * 2, SETTLE_PAUSE_LAST_MS)) {
    showStatus(recharge, 'processing', 'The bank is processing the payment; no quota is given before it has settled.');
    await stripe.next(pause);
    charged = await steps.charge(recharge);
  }
  if (charged.kind === 'ended') return { outcome: charged.outcome, detail: charged.reason, refusal: charged.refusal };
  try {
    return await grant(steps, recharge, charged.at);
  } catch (failure) {
    // The compensation. It refunds only what is held and not granted, so it is right after any failure.
    return refund(steps, recharge, reasonOf(failure), stripe);
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
async function checkLimitsOnFlushedSpend(steps: RechargeSteps, eventId: string): Promise<LimitsResult> {
  for (let look = 1; ; look++) {
    const limits = await steps.checkLimits(eventId);
    if (limits.kind !== 'spend_flushing' || look === FLUSH_LOOKS) return limits;
    await sleep(FLUSH_PAUSE, { summary: 'LiteLLM is flushing spend' });
  }
}

async function grant(steps: RechargeSteps, recharge: ReservedRecharge, capturedAt: string): Promise<RechargeEnding> {
  await steps.record(recharge, capturedAt);
  showStatus(recharge, 'charged', 'The charge is captured and in the ledger; the quota is raised next.');
  const quota = await steps.raiseQuota(recharge);
  if (quota.kind === 'needs_attention') return { outcome: 'needs_attention', detail: quota.reason };
  const closed = quota.isEventClosed ? { isClosed: true as const } : {};
  return { outcome: 'succeeded', detail: `Quota raised from ${quota.before} to ${quota.after}.`, ...closed };
}

async function refund(steps: RechargeSteps, recharge: ReservedRecharge, reason: string, stripe: StripeSignals): Promise<RechargeEnding> {
  log.warn('refunding: the quota cannot be raised', { rechargeId: recharge.rechargeId, reason });
  showStatus(recharge, 'refunding', `The quota cannot be raised, so the charge is refunded: ${reason}`);
  let refunded = await steps.refund(recharge, reason);
  for (let pause = SETTLE_PAUSE_FIRST_MS; refunded.kind === 'pending'; pause = Math.min(pause * 2, SETTLE_PAUSE_LAST_MS)) {
    await stripe.next(pause);
    refunded = await steps.refund(recharge, reason);
  }
  if (refunded.kind === 'refunded') return { outcome: 'refunded', detail: `${recharge.amount} refunded: ${reason}` };
  if (refunded.kind === 'settled') return { outcome: refunded.outcome, detail: `A person has settled it, after: ${reason}` };
  const detail = refunded.kind === 'needs_attention' ? refunded.reason : `nothing is held that could be refunded, after: ${reason}`;
  return { outcome: 'needs_attention', detail };
}

/** Closes the event of a run that has no recharge, and so no status of one. */
async function finishUncharged(steps: RechargeSteps, eventId: string, { outcome, detail }: Ending): Promise<RechargeResult> {
  showUncharged(outcome, detail);
  await steps.closeEvent(eventId, outcome, outcome);
  return { outcome, rechargeId: null, detail };
}

/** A worker of the version before takes `recharged` only; `closeEvent` stores `succeeded` for it. */
function inputNameOf(outcome: EventOutcome): EventOutcome | 'recharged' {
  return outcome === 'succeeded' ? 'recharged' : outcome;
}

async function closeRecharge(
  steps: RechargeSteps,
  eventId: string,
  recharge: ReservedRecharge,
  { outcome, detail, refusal, isClosed }: RechargeEnding,
): Promise<void> {
  showStatus(recharge, outcome, detail);
  if (!isClosed) await steps.closeEvent(eventId, refusal ?? inputNameOf(outcome), refusal ?? outcome);
}

/** A run that an operator has to settle ends failed, so that it shows red. */
function resultOf(recharge: ReservedRecharge, { outcome, detail, refusal }: RechargeEnding): RechargeResult {
  if (outcome === 'needs_attention') throw ApplicationFailure.nonRetryable(detail, FAILURE.needsAttention);
  return { outcome: refusal ?? outcome, rechargeId: recharge.rechargeId, detail };
}
