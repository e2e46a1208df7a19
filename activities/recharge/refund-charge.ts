import { ApplicationFailure } from '@temporalio/activity';
import type { EntityManager } from '../../src/database/database.ts';
import type { Recharge } from '../../src/database/entities.ts';
import * as quotaWrites from '../../src/database/quota-writes.ts';
import * as recharges from '../../src/database/recharges.ts';
import * as reversals from '../../src/database/reversals.ts';
import { FAILURE } from '../../src/domain/failures.ts';
import { formatMoney, type MinorUnits, minorUnits, moneyText } from '../../src/domain/money.ts';
import type { RechargeStatus } from '../../src/domain/recharge-status.ts';
import { refundParts, refundsShown } from '../../src/domain/refund.ts';
import type { KmsClient } from '../../src/kms/client.ts';
import type { PaymentsClient } from '../../src/payments/client.ts';
import { PaymentsError } from '../../src/payments/errors.ts';
import type { Refund } from '../../src/payments/returned-money.ts';
import { takeBackBudget } from '../budget-write.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import { requireInTime } from '../in-time.ts';
import type { RechargeRef, RefundResult } from './types.ts';

/** Between two looks whether a write of the budget is over: most are within a second. */
const LOOK_AGAIN_MS = 1_000;

/**
 * Gives back what was captured and could not be granted: prepaid → stripe.
 *
 * Starts only from `charged`, so quota that was granted is never paid for twice over, and asks Stripe only when
 * no write of the budget can take effect any more. Idempotent by the intent: a refund that Stripe knows already
 * is taken over, whatever became of our earlier request, and what was refunded elsewhere before is not refunded
 * again. Harmless when no money was taken.
 */
export function refundCharge({ database, payments, kms }: Pick<ActivityDependencies, 'database' | 'payments' | 'kms'>) {
  return async ({ rechargeId, reason }: RechargeRef & { reason: string }): Promise<RefundResult> => {
    const em = database.fork();
    const lookedAt = Date.now();
    let recharge = await recharges.get(em, rechargeId);
    if (recharge.status === 'refunded') return { kind: 'refunded' };
    if (isSettled(recharge.status)) return { kind: 'settled', outcome: recharge.status };
    if (recharge.status === 'charged') recharge = await recharges.move(em, recharge, { to: 'refunding', facts: { reason } });
    if (recharge.status !== 'refunding' || !recharge.paymentIntentId) return { kind: 'nothing_to_refund' };

    const raised = await raisedQuota(em, kms, recharge);
    if (raised) return park(em, recharge, { code: 'foreign_budget_edit', reason: raised });

    try {
      const refunds = await refundsOf({ em, payments }, recharge, { intentId: recharge.paymentIntentId, lookedAt });
      await recharges.noteRefund(em, recharge, refunds[0].id);
      const unexpected = refunds.find(({ outcome }) => outcome === 'unexpected' || outcome === 'failed');
      if (unexpected) return parkRefund(em, recharge, describeRefund(unexpected));
      const total = refunds.reduce((sum, { amountMinor }) => sum + amountMinor, 0);
      if (total !== recharge.amountMinor) {
        const money = (amount: number) => moneyText(minorUnits(amount), recharge.currency);
        const ids = refunds.map(({ id }) => id).join(', ');
        return parkRefund(em, recharge, `${ids}: ${money(total)} refunded, expected ${money(recharge.amountMinor)}`);
      }
      if (refunds.some(({ outcome }) => outcome === 'pending')) return { kind: 'pending' };
      await recharges.move(em, recharge, {
        to: 'refunded',
        transfer: 'refund',
        portions: refundParts(recharge, refunds),
        facts: { amount: formatMoney(recharge.amountMinor, recharge.currency), refund: refunds.map(({ id }) => id).join(', ') },
      });
      return { kind: 'refunded' };
    } catch (error) {
      if (!(error instanceof PaymentsError)) throw error;
      if (error.isSavedServerError) await recharges.countSpentKey(em, recharge);
      if (error.kind !== 'refused') throw error;
      return parkRefund(em, recharge, `Stripe refuses the refund: ${error.failure.message}`);
    }
  };
}

/** With Stripe's word for why it has failed. */
function describeRefund({ id, status, failureReason }: Refund): string {
  return `refund ${id} is ${status}${failureReason ? ` (${failureReason})` : ''}`;
}

function isSettled(status: RechargeStatus): status is Extract<RefundResult, { kind: 'settled' }>['outcome'] {
  return status === 'succeeded' || status === 'declined' || status === 'action_required' || status === 'cancelled';
}

/**
 * Takes the quota back that a write may have given whose outcome nobody has seen.
 *
 * @returns why a person has to look; undefined when there is no such write, or no quota by it.
 * @throws KmsError; a retryable failure while the write may still take effect.
 */
async function raisedQuota(em: EntityManager, kms: KmsClient, recharge: Recharge): Promise<string | undefined> {
  const { organizationId, litellmTeamId: teamId, quotaBefore: before, quotaAfter: after } = recharge;
  const leftMs = await quotaWrites.mayTakeEffectFor(em, recharge);
  if (leftMs === null) return undefined;
  if (leftMs > 0) {
    const message = 'a write of the budget may still take effect: the money goes back when it is over';
    throw ApplicationFailure.create({ message, type: FAILURE.budgetBusy, nextRetryDelay: Math.min(leftMs, LOOK_AGAIN_MS) });
  }
  if (typeof before === 'number' && typeof after === 'number') {
    const reason = await takeBackBudget(em, kms, {
      organizationId,
      teamId,
      writer: { id: recharge.id, status: 'refunding' },
      before,
      after,
    });
    if (reason) return reason;
  }
  await quotaWrites.noteUnchanged(em, recharge);
  return undefined;
}

/**
 * The refund asked for before, whatever became of it, or a new one of the rest; then those made elsewhere. Where one of
 * those has failed since ours was asked for, its part is left, and asked for too.
 */
async function refundsOf(
  { em, payments }: { em: EntityManager; payments: PaymentsClient },
  recharge: Recharge,
  { intentId, lookedAt }: { intentId: string; lookedAt: number },
): Promise<[Refund, ...Refund[]]> {
  // Where a refund has failed long after, the recharge is of what came back, and the other parts have their transfers.
  const parts = (await reversals.partsOf(em, recharge.id)).map(({ id }) => id);
  const look = async () => {
    const shown = await payments.refundsOf(intentId);
    return refundsShown(
      recharge,
      shown.filter(({ id }) => !parts.includes(id)),
    );
  };
  const { ours, others, rest } = await look();
  const [other, ...more] = others;
  // One that cannot be read may be of all that is held.
  const isRestKnown = others.every(({ outcome }) => outcome !== 'unexpected');
  if (!ours && other && (rest === 0 || !isRestKnown)) return [other, ...more];
  const askFor = async (amountMinor: MinorUnits, besides?: Refund) => {
    // A person may have granted it since, after another attempt.
    requireInTime({ at: lookedAt, what: 'the recharge' });
    return payments.refund({ ...recharge, amountMinor }, { intentId, besides: besides?.id }).catch(async (error) => {
      if (!(error instanceof PaymentsError) || error.kind !== 'refused') throw error;
      // Refused because one was made since the look: at Stripe, or by a process of the version before, whose key is another.
      const now = await look();
      if (now.ours?.id !== ours?.id || now.rest < rest)
        throw ApplicationFailure.retryable('a refund was made at the same moment', FAILURE.stripeBusy);
      throw error;
    });
  };
  if (!ours) return [await askFor(rest), ...others];
  const isOursKnown = ours.outcome === 'succeeded' || ours.outcome === 'pending';
  if (!isOursKnown || !isRestKnown || ours.amountMinor >= rest) return [ours, ...others];
  return [await askFor(minorUnits(rest - ours.amountMinor), ours), ours, ...others];
}

function parkRefund(em: EntityManager, recharge: Recharge, reason: string): Promise<RefundResult> {
  return park(em, recharge, { code: 'refund_failed', reason });
}

async function park(em: EntityManager, recharge: Recharge, { code, reason }: { code: string; reason: string }): Promise<RefundResult> {
  await recharges.move(em, recharge, {
    to: 'needs_attention',
    changes: { failureCode: code, failureMessage: reason },
    facts: { reason },
  });
  return { kind: 'needs_attention', reason };
}
