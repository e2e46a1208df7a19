import type { EntityManager } from '../../src/database/database.ts';
import { tellFindings } from '../../src/database/drift-events.ts';
import type { Recharge } from '../../src/database/entities.ts';
import { installationId } from '../../src/database/installation.ts';
import * as ledger from '../../src/database/ledger.ts';
import * as recharges from '../../src/database/recharges.ts';
import { type Finding, findingOf } from '../../src/domain/finding.ts';
import { minorUnits } from '../../src/domain/money.ts';
import { isOpen } from '../../src/domain/recharge-status.ts';
import type { Intent } from '../../src/payments/intent.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import { isOurs, mayHoldMoney, wasAccepted } from '../lost-recharge.ts';
import { followFraudWarnings } from './follow-fraud-warnings.ts';
import { followReturnedMoney } from './follow-returned-money.ts';
import type { IntentsPage } from './types.ts';

/** Stripe lists no more at once. */
const INTENTS_A_PAGE = 100;

/**
 * One page of our intents at Stripe, newest first, against recharges and ledger. The first page also follows
 * returned money and fraud warnings.
 */
export function compareIntents({
  database,
  payments,
  workflows,
  log,
}: Pick<ActivityDependencies, 'database' | 'payments' | 'workflows' | 'log'>) {
  return async ({ since, after, fix }: { since: string; after?: string; fix: boolean }): Promise<IntentsPage> => {
    const em = database.fork();
    const installation = await installationId(em);
    const { intents, hasMore } = await payments.intentsSince(new Date(since), INTENTS_A_PAGE, after);
    const page: IntentsPage = { compared: 0, findings: [], lost: [], next: hasMore ? (intents.at(-1)?.id ?? null) : null };
    if (after === undefined) {
      page.findings.push(...(await followReturnedMoney({ em, payments, workflows }, fix)));
      page.findings.push(...(await followFraudWarnings({ em, payments, log }, fix)));
    }
    const ids = intents.flatMap(({ metadata }) => metadata?.rechargeId ?? []);
    const known = await recharges.ofIds(em, ids);
    const charged = await ledger.chargedAmong(em, ids);
    for (const intent of intents) {
      if (!intent.metadata || !isOurs(intent, installation)) continue;
      page.compared++;
      const recharge = known.get(intent.metadata.rechargeId);
      const isEntered = recharge !== undefined && charged.has(recharge.id);
      if (recharge && isEntered && intent.id !== recharge.paymentIntentId)
        page.findings.push(...(await compareSecond(payments, recharge, intent)));
      else if (recharge) page.findings.push(...(await compare({ em, recharge, intent, isEntered, fix })));
      else if (mayHoldMoney(intent)) page.lost.push({ intentId: intent.id });
    }
    // Without `fix` the next scheduled run settles some of them.
    if (fix) await tellFindings(em, page.findings);
    return page;
  };
}

/** `isEntered`: the ledger has the charge. */
type Comparison = { em: EntityManager; recharge: Recharge; intent: Intent; isEntered: boolean; fix: boolean };

async function compare({ em, recharge, intent, isEntered, fix }: Comparison): Promise<Finding[]> {
  const { id: subject, organizationId } = recharge;
  const { outcome } = intent;
  if (outcome.kind !== 'captured') {
    if (!isEntered) return [];
    return [findingOf('ledger_without_capture', { subject, organizationId, seen: `PaymentIntent ${intent.id} ${describe(intent)}` })];
  }
  // What is open is entered by its own run.
  if (isEntered || isOpen(recharge.status)) return [];
  const isOurCurrency = outcome.currency === recharge.currency;
  if (!isOurCurrency && wasAccepted(recharge)) return [];
  const advice = isOurCurrency ? '' : `, in ${outcome.currency}: refund it in Stripe, then accept it`;
  const reason = `PaymentIntent ${intent.id} was captured, the recharge is ${recharge.status}${advice}`;
  const money = isOurCurrency ? ({ transfer: 'charge', captured: minorUnits(outcome.amountMinor) } as const) : {};
  if (fix) await recharges.reopen(em, recharge, { code: 'unexpected_charge', reason, intentId: intent.id, ...money });
  return [findingOf('captured_unknown', { subject, organizationId, seen: reason })];
}

/**
 * An intent of a recharge that another one has paid: a restored database had forgotten it, and Stripe did not list it yet.
 * No account of ours holds its money, so a person gives it back at Stripe.
 */
async function compareSecond(
  payments: Pick<ActivityDependencies['payments'], 'refundsOf'>,
  { id: subject, organizationId, paymentIntentId }: Recharge,
  { id: secondIntent, outcome }: Intent,
): Promise<Finding[]> {
  if (outcome.kind !== 'captured') return [];
  const refunds = await payments.refundsOf(secondIntent);
  const refunded = refunds.reduce((sum, { isGone, amountMinor }) => sum + (isGone ? amountMinor : 0), 0);
  if (refunded >= outcome.amountMinor) return [];
  const seen = `PaymentIntent ${secondIntent} was captured too, and the recharge is paid by ${paymentIntentId}`;
  return [findingOf('captured_unknown', { subject, organizationId, seen, secondIntent })];
}

function describe({ outcome, status }: Intent): string {
  return outcome.kind === 'unexpected' ? outcome.reason : `is ${status}`;
}
