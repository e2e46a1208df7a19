/** What becomes of the quota when its money goes back to the customer without us: a refund made elsewhere, or a dispute. */
import { ApplicationFailure } from '@temporalio/activity';
import type Stripe from 'stripe';
import type { EntityManager } from '../../src/database/database.ts';
import type { Recharge, Reversal } from '../../src/database/entities.ts';
import * as recharges from '../../src/database/recharges.ts';
import * as reversals from '../../src/database/reversals.ts';
import { FAILURE } from '../../src/domain/failures.ts';
import { formatQuota } from '../../src/domain/money.ts';
import { isOpen } from '../../src/domain/recharge-status.ts';
import { KmsError } from '../../src/kms/errors.ts';
import { ofDispute, ofRefund } from '../../src/payments/returned-money.ts';
import { writeBudget } from '../budget-write.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { RechargeRef } from '../recharge/types.ts';
import type { ReversalRef, ReversalStep, ReversalsResult } from './types.ts';

/**
 * Reads every refund and dispute of a recharge's intent as Stripe has them now, notes those that are new, and says what is
 * to be done. The order in which Stripe's events came, or whether they came, makes no difference.
 *
 * @throws a retryable failure while the recharge itself is still being worked on.
 */
export function findReversals({ database, payments }: Pick<ActivityDependencies, 'database' | 'payments'>) {
  return async ({ rechargeId }: RechargeRef): Promise<ReversalsResult> => {
    const em = database.fork();
    let recharge = await recharges.get(em, rechargeId);
    if (isOpen(recharge.status) && recharge.status !== 'needs_attention') {
      throw ApplicationFailure.retryable(`recharge ${rechargeId} is ${recharge.status}`, FAILURE.rechargeNotAtRest);
    }
    const intentId = recharge.paymentIntentId;
    if (!intentId) return NOTHING;
    const [refunds, disputes] = [await payments.refundsOf(intentId), await payments.disputesOf(intentId)];
    await reopenIfOurRefundFailed(em, recharge, refunds);
    recharge = await recharges.get(em, rechargeId);

    // Whether it is granted is for a person to say first.
    if (recharge.status === 'needs_attention') return { ...NOTHING, isFinal: refunds.length + disputes.length === 0 };
    const moneys = [...refunds.filter((refund) => !isOurs(refund, recharge)).map(ofRefund), ...disputes.map(ofDispute)];
    const steps: ReversalStep[] = [];
    let isFinal = true;
    for (const money of moneys) {
      isFinal &&= money.isFinal;
      const known = await reversals.of(em, rechargeId);
      const isKnown = known.some(({ id }) => id === money.id);
      if (!isKnown && (money.isInquiry || (recharge.status !== 'succeeded' && !money.isGone))) continue;
      const rest = reversals.restOf(
        recharge,
        known.filter((other) => moneys.find(({ id }) => id === other.id)?.isGone),
      );
      // What another one takes may come again: a pending refund fails where a dispute has taken the money.
      const isUndecided = moneys.some(({ id, isFinal: isDecided }) => !isDecided && known.some((other) => other.id === id));
      if (!isKnown && money.amountMinor > rest && isUndecided) {
        isFinal = false;
        continue;
      }
      const reversal = await reversals.open(em, recharge, money, rest);
      const step = stepFor(reversal, money.isGone);
      if (step) steps.push({ reversalId: reversal.id, ...step, amountMinor: reversal.amountMinor });
    }
    const parked = (await reversals.of(em, rechargeId)).filter(({ status }) => status === 'needs_attention').map(({ id }) => id);
    return { steps, parked, isFinal };
  };
}

const NOTHING: ReversalsResult = { steps: [], parked: [], isFinal: true };

function isOurs(refund: Stripe.Refund, recharge: Recharge): boolean {
  return refund.id === recharge.refundId || refund.metadata?.['recharge_id'] === recharge.id;
}

function stepFor(reversal: Reversal, isGone: boolean): { step: 'take_back' | 'give_back' | 'never_mind' } | undefined {
  if (reversal.status === 'open') return { step: isGone ? 'take_back' : 'never_mind' };
  if (reversal.status === 'taken_back' && !isGone && reversal.quota > 0) return { step: 'give_back' };
  return undefined;
}

/** A refund of ours that has failed after it was recorded: the money is ours to hold again, and a person decides. */
async function reopenIfOurRefundFailed(em: EntityManager, recharge: Recharge, refunds: Stripe.Refund[]): Promise<void> {
  const own = refunds.find(({ id }) => id === recharge.refundId);
  if (recharge.status !== 'refunded' || !own || (own.status !== 'failed' && own.status !== 'canceled')) return;
  const reason = `refund ${own.id} has failed (${own.failure_reason ?? own.status}): the customer has neither money nor quota`;
  const portion = { reference: own.id, amountMinor: recharge.amountMinor, quotaMicros: recharge.quotaGranted };
  const isReopened = await recharges.reopen(em, recharge, { code: 'refund_failed', reason, transfer: 'recovery', portion });
  if (!isReopened) throw ApplicationFailure.retryable(`${reason}; another recharge of the organization is open`, FAILURE.rechargeNotAtRest);
}

/** Lowers the budget by the quota whose money has gone, and enters it: granted → prepaid → stripe. */
export function takeBackQuota({ database, kms }: Pick<ActivityDependencies, 'database' | 'kms'>) {
  return async ({ reversalId }: ReversalRef): Promise<void> => {
    const em = database.fork();
    const reversal = await reversals.get(em, reversalId);
    if (reversal.status !== 'open') return;
    if (await changeBudget(em, kms, reversal, 'take')) await reversals.takenBack(em, reversal);
  };
}

/** Raises the budget again when the money has come again, and enters it: stripe → prepaid → granted. */
export function giveBackQuota({ database, kms }: Pick<ActivityDependencies, 'database' | 'kms'>) {
  return async ({ reversalId }: ReversalRef): Promise<void> => {
    const em = database.fork();
    const reversal = await reversals.get(em, reversalId);
    if (reversal.status === 'open') {
      if (reversal.takenBefore === null) return reversals.neverMind(em, reversal);
      // A run that was ended half-way may have lowered the budget: what it began is done before it is undone.
      if (!(await changeBudget(em, kms, reversal, 'take'))) return;
      await reversals.takenBack(em, reversal);
    }
    const taken = await reversals.get(em, reversalId);
    if (taken.status !== 'taken_back') return;
    if (await changeBudget(em, kms, taken, 'give')) await reversals.givenBack(em, taken);
  };
}

/** False when there is nothing to record: a person has to decide and the reversal is parked, or another attempt was first. */
async function changeBudget(
  em: EntityManager,
  kms: ActivityDependencies['kms'],
  reversal: Reversal,
  direction: 'take' | 'give',
): Promise<boolean> {
  const { organizationId, litellmTeamId: teamId, id: writer } = reversal;
  try {
    const write = await writeBudget(em, kms, { organizationId, teamId, writer }, (live) =>
      reversals.planWrite(em, reversal, direction, live),
    );
    if (write.kind === 'edited') await reversals.park(em, reversal, write.reason);
    return write.kind === 'written';
  } catch (error) {
    if (error instanceof reversals.ReversalSettledError) return false;
    if (error instanceof ApplicationFailure && error.type === FAILURE.budgetRefused) {
      const verb = direction === 'take' ? 'taken back' : 'given back';
      await reversals.park(em, reversal, `${formatQuota(reversal.quota)} quota cannot be ${verb}: ${error.message}`);
      return false;
    }
    // Quota that went with its team needs no taking back, and cannot be given back.
    if (!(error instanceof KmsError) || error.kind !== 'not_found') throw error;
    if (direction === 'take') return true;
    await reversals.park(
      em,
      reversal,
      `the money of ${formatQuota(reversal.quota)} quota has come again, but the team is gone from LiteLLM`,
    );
    return false;
  }
}
