import type Stripe from 'stripe';
import type { EntityManager } from '../../src/database/database.ts';
import type { Recharge } from '../../src/database/entities.ts';
import * as ledger from '../../src/database/ledger.ts';
import * as recharges from '../../src/database/recharges.ts';
import { type Finding, findingOf } from '../../src/domain/finding.ts';
import { minorUnits } from '../../src/domain/money.ts';
import { isOpen } from '../../src/domain/recharge-status.ts';
import type { IntentMetadata } from '../../src/payments/client.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import { followReturnedMoney } from './follow-returned-money.ts';
import type { IntentsPage } from './types.ts';

/** Stripe lists no more at once. */
const INTENTS_A_PAGE = 100;

/** One page of our intents at Stripe, newest first, against recharges and ledger. The first page also follows returned money. */
export function compareIntents({ database, payments, workflows }: Pick<ActivityDependencies, 'database' | 'payments' | 'workflows'>) {
  return async ({ since, after, fix }: { since: string; after?: string; fix: boolean }): Promise<IntentsPage> => {
    const em = database.fork();
    const { intents, hasMore } = await payments.intentsSince(new Date(since), INTENTS_A_PAGE, after);
    const page: IntentsPage = { compared: 0, findings: [], lost: [], next: hasMore ? (intents.at(-1)?.id ?? null) : null };
    if (after === undefined) page.findings.push(...(await followReturnedMoney({ em, payments, workflows }, fix)));
    for (const intent of intents) {
      const rechargeId = rechargeIdOf(intent);
      if (!rechargeId) continue;
      page.compared++;
      const recharge = await recharges.find(em, rechargeId);
      if (recharge) page.findings.push(...(await compare({ em, recharge, intent, fix })));
      else if (mayHoldMoney(intent)) page.lost.push({ intentId: intent.id });
    }
    return page;
  };
}

/** Undefined for an intent of somebody else in the same Stripe account. */
function rechargeIdOf({ metadata }: Stripe.PaymentIntent): string | undefined {
  return (metadata as Partial<IntentMetadata>).recharge_id;
}

/** False for an intent that was never confirmed, or is over without money. */
function mayHoldMoney({ status }: Stripe.PaymentIntent): boolean {
  return status !== 'canceled' && status !== 'requires_confirmation';
}

type Comparison = { em: EntityManager; recharge: Recharge; intent: Stripe.PaymentIntent; fix: boolean };

async function compare({ em, recharge, intent, fix }: Comparison): Promise<Finding[]> {
  const { id: subject, organizationId } = recharge;
  const isEntered = (await ledger.transfersOf(em, recharge.id)).some(({ kind }) => kind === 'charge');
  const isCaptured = intent.status === 'succeeded';
  if (isEntered && !isCaptured) {
    return [findingOf('ledger_without_capture', { subject, organizationId, seen: `PaymentIntent ${intent.id} is ${intent.status}` })];
  }
  // What is open is entered by its own run.
  if (!isCaptured || isEntered || isOpen(recharge.status)) return [];
  const reason = `PaymentIntent ${intent.id} was captured, the recharge is ${recharge.status}`;
  if (fix) await holdUnexpectedCharge(em, recharge, { intent, reason });
  return [findingOf('captured_unknown', { subject, organizationId, seen: reason })];
}

async function holdUnexpectedCharge(
  em: EntityManager,
  recharge: Recharge,
  { intent, reason }: { intent: Stripe.PaymentIntent; reason: string },
): Promise<void> {
  const portion = { reference: '', amountMinor: minorUnits(intent.amount_received), quotaMicros: recharge.quotaGranted };
  await recharges.reopen(em, recharge, { code: 'unexpected_charge', reason, transfer: 'charge', portion });
}
