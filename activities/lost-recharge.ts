/** Recharges that Stripe remembers and the database does not: it was restored from before them. */
import type { EntityManager } from '../src/database/database.ts';
import type { Organization, Recharge } from '../src/database/entities.ts';
import * as organizations from '../src/database/organizations.ts';
import * as recharges from '../src/database/recharges.ts';
import { currency, minorUnits } from '../src/domain/money.ts';
import { NOT_CHARGED_STATUSES, type RechargeStatus } from '../src/domain/recharge-status.ts';
import { refundsShown } from '../src/domain/refund.ts';
import type { ChargeOutcome } from '../src/payments/charge-outcome.ts';
import type { IntentsPage } from '../src/payments/client.ts';
import type { Intent } from '../src/payments/intent.ts';
import type { ActivityDependencies } from './dependencies.ts';

/** Nobody has more recharges lost of one organization than this without having noticed. */
export const NEWEST_INTENTS = 20;

/** So many more are read at once behind those, and so often is looked: a call each, before a charge. */
const INTENTS_BEHIND = 100;
const MAX_LOOKS = 3;

/** Whether an intent was made by this installation; one from before installations were marked counts as its own. */
export function isOurs({ metadata }: Intent, installation: string): boolean {
  return metadata !== null && (metadata.installation === null || metadata.installation === installation);
}

/** False for an intent that was never confirmed, or is over without money. */
export function mayHoldMoney({ isCanceled, outcome }: Intent): boolean {
  return !isCanceled && outcome.kind !== 'unconfirmed';
}

/** A person has said that it is right as it is. */
export function wasAccepted({ timeline }: Recharge): boolean {
  return timeline.some(({ resolution }) => resolution === 'accept');
}

/**
 * The oldest intent of an organization that has taken money, or is about to, or of which Stripe does not say, and that
 * the database does not know: that of a recharge which it has lost, or has ended as one that took none, or of the one that
 * is about to be charged. Whoever has paid and got nothing is not charged again.
 *
 * A customer may pay for others too, and by others than us. So the look goes on behind the newest ones until it finds a
 * recharge of the organization that the database knows: what is older than that was not lost.
 *
 * @param recharge one that has no intent.
 * @param newest the NEWEST_INTENTS of its customer, newest first.
 * @param installation ours.
 * @throws PaymentsError
 */
export async function lostPayment(
  { em, payments }: { em: EntityManager; payments: Pick<ActivityDependencies['payments'], 'intentsBehind'> },
  { id, organizationId, stripeCustomerId: customerId }: Pick<Recharge, 'id' | 'organizationId' | 'stripeCustomerId'>,
  { newest, installation }: { newest: IntentsPage; installation: string },
): Promise<Intent | undefined> {
  let oldest: Intent | undefined;
  for (let page = newest, looks = 1; ; looks++) {
    const own = page.intents.filter((intent) => isOurs(intent, installation) && intent.metadata?.organizationId === organizationId);
    const found = own.length === 0 ? new Map<string, Recharge>() : await recharges.ofIds(em, own.map(rechargeIdOf));
    // A database from before its intent was stored knows the recharge, and not that it is paid.
    found.delete(id);
    const isKnown = (intent: Intent) => {
      const recharge = found.get(rechargeIdOf(intent));
      return recharge !== undefined && !isPaidUnnoticed(recharge, intent);
    };
    oldest = own.findLast((intent) => mayBePaid(intent) && !isKnown(intent)) ?? oldest;
    const last = page.intents.at(-1);
    if (own.some(isKnown) || !page.hasMore || !last || looks === MAX_LOOKS) return oldest;
    page = await payments.intentsBehind(last.id, { customerId, limit: INTENTS_BEHIND });
  }
}

/** Also one of which nobody can tell. */
const MAY_BE_PAID: readonly ChargeOutcome['kind'][] = ['captured', 'processing', 'unexpected'];

function mayBePaid({ outcome }: Intent): boolean {
  return MAY_BE_PAID.includes(outcome.kind);
}

/**
 * The recharge has ended before its intent was stored, or in a database from before it was paid. Reconciliation opens it
 * again for a person. Money of another currency that a person has accepted is settled.
 */
function isPaidUnnoticed(recharge: Recharge, intent: Intent): boolean {
  const { outcome } = intent;
  const isSettled = outcome.kind === 'captured' && outcome.currency !== recharge.currency && wasAccepted(recharge);
  return (NOT_CHARGED_STATUSES as readonly RechargeStatus[]).includes(recharge.status) && mayBePaid(intent) && !isSettled;
}

function rechargeIdOf({ metadata }: Intent): string {
  return metadata?.rechargeId ?? '';
}

/**
 * Notes the refund that we have asked for and that the database has lost, so that the recharge's run goes on to it and
 * gives no quota. A person who has decided meanwhile has seen what Stripe shows.
 *
 * @throws PaymentsError
 */
export async function noteLostRefund(
  em: EntityManager,
  payments: Pick<ActivityDependencies['payments'], 'refundsOf'>,
  recharge: Recharge,
): Promise<void> {
  const isDecided = recharge.timeline.some(({ resolution }) => resolution !== undefined);
  if (recharge.refundId || !recharge.paymentIntentId || isDecided) return;
  const { ours } = refundsShown(recharge, await payments.refundsOf(recharge.paymentIntentId));
  if (ours) await recharges.noteRefund(em, recharge, ours.id);
}

export type Entry =
  | 'entered'
  /** It could be, and was not asked for. */
  | 'left'
  /** Another recharge of the organization has to be settled first. */
  | 'open_recharge'
  | 'organization_missing'
  /** The intent does not say enough: somebody has edited its metadata. */
  | 'metadata_edited';

/**
 * Enters the recharge of an intent again and starts its run, which settles it by the budgets that the intent
 * remembers: its quota is given, or, where we had asked for a refund, its money stays given back. An organization has
 * one open recharge at a time.
 */
export async function enterLost(
  { em, payments, workflows }: { em: EntityManager } & Pick<ActivityDependencies, 'payments' | 'workflows'>,
  intent: Intent,
  { isDryRun = false } = {},
): Promise<Entry> {
  const organization = intent.metadata && (await organizations.find(em, intent.metadata.organizationId));
  if (!organization) return 'organization_missing';
  const lost = lostRecharge(intent, organization);
  if (!lost) return 'metadata_edited';
  if (isDryRun) return 'left';
  const { organizationId, litellmTeamId: teamId } = lost;
  const { ours } = refundsShown(lost, await payments.refundsOf(lost.paymentIntentId));
  const eventId = await recharges.restore(em, { ...lost, refundId: ours?.id ?? null });
  if (eventId === undefined) return 'open_recharge';
  await workflows.restartRecharge({ id: eventId, organizationId, teamId, source: 'webhook', eventType: 'restored' });
  // Before it was lost, its disputes and the refunds made elsewhere were followed, or due to be.
  await workflows.followReversals({ id: lost.id, organizationId, litellmTeamId: teamId });
  return 'entered';
}

/** The recharge as its intent remembers it; undefined for an intent that does not say enough. */
function lostRecharge(
  { id: paymentIntentId, metadata, ...intent }: Intent,
  organization: Organization,
): Omit<recharges.LostRecharge, 'refundId'> | undefined {
  if (!metadata) return undefined;
  const { rechargeId: id, eventId, litellmTeamId, quota, quotaBefore, balance } = metadata;
  if (quota === null || quotaBefore === null || balance === null || intent.amountMinor === null || intent.currency === null)
    return undefined;
  return {
    id,
    eventId,
    organizationId: organization.id,
    litellmTeamId,
    stripeCustomerId: intent.customerId ?? organization.stripeCustomerId,
    amountMinor: minorUnits(intent.amountMinor),
    currency: currency(intent.currency),
    quotaGranted: quota,
    balanceSeen: balance,
    quotaBefore,
    paymentIntentId,
  };
}
