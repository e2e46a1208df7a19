/** A person settles a recharge: what Stripe says about its money comes first, then the decision is taken. */
import type { EntityManager } from '../database/database.ts';
import type { Recharge } from '../database/entities.ts';
import * as ledger from '../database/ledger.ts';
import * as resolutions from '../database/resolutions.ts';
import * as reversals from '../database/reversals.ts';
import { type MinorUnits, minorUnits, moneyText } from '../domain/money.ts';
import type { ResolutionRequest } from '../domain/resolution.ts';
import type { PaymentsClient } from '../payments/client.ts';
import { PaymentsError } from '../payments/errors.ts';
import type { Intent } from '../payments/intent.ts';

const NOTHING = minorUnits(0);

/**
 * Takes a person's decision on a recharge. Nobody but Stripe can say that no money was taken, so an intent that is
 * not in the ledger is read first, and one that could still be captured is cancelled before it is accepted. What is
 * held in the ledger may have been refunded at Stripe: that counts as granted by nobody's word.
 *
 * @throws NotResolvableError; PaymentsError while Stripe cannot be asked.
 */
export async function resolveRecharge(
  { em, payments }: { em: EntityManager; payments: PaymentsClient },
  recharge: Recharge,
  wanted: ResolutionRequest,
): Promise<Recharge> {
  const captured = await capturedOutsideLedger({ em, payments }, recharge, wanted);
  await requireNotRefunded({ em, payments }, recharge, wanted);
  return resolutions.begin(em, recharge, { ...wanted, captured });
}

/**
 * To accept would count as granted what has gone back: the quota that follows the refund would be taken from a budget
 * that was never raised. To grant gives quota that follows a refund made elsewhere, and none follows ours. Where the
 * money is disputed too, Stripe may refuse the refund of the rest, so that accepting is the only way out.
 *
 * @throws NotResolvableError; PaymentsError
 */
async function requireNotRefunded(
  { em, payments }: { em: EntityManager; payments: PaymentsClient },
  recharge: Recharge,
  { resolution }: ResolutionRequest,
): Promise<void> {
  const { id, paymentIntentId, status, currency } = recharge;
  const isSettling = resolution !== 'refund' && (status === 'needs_attention' || status === 'charged');
  if (!isSettling || !paymentIntentId || (await ledger.heldFor(em, id)) === 0) return;
  const parts = (await reversals.partsOf(em, id)).map((part) => part.id);
  const refunds = (await payments.refundsOf(paymentIntentId)).filter(
    (refund) => (refund.outcome === 'succeeded' || refund.outcome === 'pending') && !parts.includes(refund.id),
  );
  const forbidding = resolution === 'grant' ? refunds.filter(({ rechargeId }) => rechargeId === id) : refunds;
  if (forbidding.length === 0) return;
  if (resolution === 'accept' && (await payments.disputesOf(paymentIntentId)).some(({ isGone }) => isGone)) return;
  const gone = minorUnits(forbidding.reduce((sum, { amountMinor }) => sum + amountMinor, 0));
  throw new resolutions.NotResolvableError(
    `${moneyText(gone, currency)} of recharge ${id} was refunded at Stripe (${forbidding.map((refund) => refund.id).join(', ')}): --refund gives back what is left, and settles it`,
  );
}

async function capturedOutsideLedger(
  { em, payments }: { em: EntityManager; payments: PaymentsClient },
  recharge: Recharge,
  { resolution }: ResolutionRequest,
): Promise<MinorUnits> {
  const isUnentered = recharge.status === 'charging' || recharge.status === 'processing' || recharge.status === 'needs_attention';
  if (!recharge.paymentIntentId || !isUnentered || (await ledger.heldFor(em, recharge.id)) > 0) return NOTHING;
  const intent =
    resolution === 'accept'
      ? await readOnceCancelled(payments, recharge, recharge.paymentIntentId)
      : await readIfKnown(payments, recharge.paymentIntentId);
  if (!intent || !isCaptured(intent)) return NOTHING;
  const isOurCurrency = intent.currency === null || intent.currency === recharge.currency;
  if (!isOurCurrency && resolution === 'accept') return NOTHING;
  if (!isOurCurrency)
    throw new resolutions.NotResolvableError(
      `Stripe has captured ${intent.currency}, not ${recharge.currency}: refund it in Stripe, then accept it`,
    );
  // Where Stripe does not say how much, the person's word is that it is what was asked for; Stripe refunds no more.
  return intent.outcome.kind === 'captured' ? minorUnits(intent.outcome.amountMinor) : recharge.amountMinor;
}

/** By Stripe's own word, also where it does not say how much. */
function isCaptured({ outcome, status }: Intent): boolean {
  return outcome.kind === 'captured' || status === 'succeeded';
}

/** Undefined where Stripe has no such intent: through it no money can be taken. */
async function readIfKnown(payments: PaymentsClient, intentId: string): Promise<Intent | undefined> {
  try {
    return await payments.readIntent(intentId);
  } catch (error) {
    if (error instanceof PaymentsError && error.kind === 'refused' && error.status === 404) return undefined;
    throw error;
  }
}

/**
 * @throws NotResolvableError where the intent cannot be cancelled, because the bank is processing the payment, or
 *   Stripe says something that nobody knows.
 */
async function readOnceCancelled(payments: PaymentsClient, recharge: Recharge, intentId: string): Promise<Intent | undefined> {
  const found = await readIfKnown(payments, intentId);
  if (!found || found.isCanceled || isCaptured(found)) return found;
  try {
    return await payments.cancelIntent(recharge, intentId);
  } catch (error) {
    if (!(error instanceof PaymentsError) || error.kind !== 'refused') throw error;
    const late = await payments.readIntent(intentId);
    if (late.isCanceled || isCaptured(late)) return late;
    throw new resolutions.NotResolvableError(
      `Stripe does not cancel PaymentIntent ${intentId}, which is ${late.status}: the money may still be taken (${error.failure.message})`,
    );
  }
}
