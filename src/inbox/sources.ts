/** The tables that are dispatched from, and what happens with a row of each. */
import * as cardHolds from '../database/card-holds.ts';
import type { Database, EntityManager } from '../database/database.ts';
import type { Recharge } from '../database/entities.ts';
import * as fraudWarnings from '../database/fraud-warnings.ts';
import * as organizations from '../database/organizations.ts';
import * as recharges from '../database/recharges.ts';
import * as refusals from '../database/refusals.ts';
import * as stripeEvents from '../database/stripe-events.ts';
import * as webhookEvents from '../database/webhook-events.ts';
import { waitsForStripe } from '../domain/recharge-status.ts';
import type { StripeNotice } from '../domain/stripe-notice.ts';
import type { PaymentsClient } from '../payments/client.ts';
import { topicOf } from '../payments/events.ts';
import type { WorkflowStarter } from '../workflow-starter.ts';
import type { Source } from './dispatcher.ts';
import { followReturnedMoney } from './follow-returned-money.ts';

/** Alerts: each starts its workflow. */
export function alertSource(
  database: Database,
  workflows: Pick<WorkflowStarter, 'startRecharge'>,
): Source<webhookEvents.DispatchableEvent> {
  return {
    name: 'webhook_event',
    claim: (wish) => webhookEvents.claim(database.fork(), wish),
    span: ({ id, organizationId, source, traceparent }) => ({
      name: 'dispatch alert',
      kind: 'producer',
      parent: traceparent,
      attributes: { 'bill.event_id': id, 'bill.organization_id': organizationId, 'bill.source': source },
    }),
    handle: (event) => workflows.startRecharge(event),
    done: (id) => webhookEvents.markDispatched(database.fork(), id),
    release: (id, delayMs) => webhookEvents.releaseClaim(database.fork(), id, delayMs),
  };
}

/** Two reads of Stripe, which may be slow. */
const STRIPE_EVENT_DEADLINE_MS = 30_000;

export type StripeSourceDependencies = {
  database: Database;
  payments: Pick<PaymentsClient, 'chooseCard' | 'fraudWarning' | 'returnedMoneyOf'>;
  workflows: Pick<WorkflowStarter, 'wakeRecharge' | 'wakeReversals' | 'followReversals'>;
};

/**
 * Stripe's events. One about a payment wakes the run that waits for it, one about money that goes back has it
 * followed, a fraud warning holds, another card releases. An event of an intent or a customer that is not ours
 * needs nothing.
 */
export function stripeSource({ database, payments, workflows }: StripeSourceDependencies): Source<StripeNotice> {
  return {
    name: 'stripe_event',
    deadlineMs: STRIPE_EVENT_DEADLINE_MS,
    span: ({ id, type }) => ({
      name: 'dispatch event of Stripe',
      kind: 'producer',
      attributes: { 'bill.stripe_event_id': id, 'bill.event_type': type },
    }),
    claim: (wish) => stripeEvents.claim(database.fork(), wish),
    handle: async (notice) => {
      const em = database.fork();
      switch (topicOf(notice.type)) {
        case 'fraud':
          return holdForWarning(em, payments, notice);
        case 'card':
          return releaseForCard(em, payments, notice);
        case 'payment':
          await wakeRecharge(em, workflows, notice);
          return;
        case 'return':
          return followReturn({ database, payments, workflows }, notice);
        case 'other':
          return;
      }
    },
    done: (id) => stripeEvents.markHandled(database.fork(), id),
    release: (id, delayMs) => stripeEvents.releaseClaim(database.fork(), id, delayMs),
  };
}

async function wakeRecharge(
  em: EntityManager,
  workflows: StripeSourceDependencies['workflows'],
  { paymentIntentId }: StripeNotice,
): Promise<Recharge | null> {
  const recharge = paymentIntentId ? await recharges.findByIntent(em, paymentIntentId) : null;
  // Any other run asks Stripe itself when it comes to it, and would only be held up.
  if (recharge && waitsForStripe(recharge.status)) await workflows.wakeRecharge(recharge);
  return recharge;
}

/**
 * Has the money followed that goes back. Most events of this kind are of refunds that a recharge has asked for
 * itself: its own run follows those, so a run is started only for what Stripe shows beside them.
 */
async function followReturn({ database, payments, workflows }: StripeSourceDependencies, notice: StripeNotice): Promise<void> {
  const { paymentIntentId } = notice;
  if (!paymentIntentId || !(await wakeRecharge(database.fork(), workflows, notice))) return;
  await followReturnedMoney({ database, payments, workflows }, paymentIntentId);
}

/** Holds the organization whose charge is reported as fraudulent. */
async function holdForWarning(
  em: EntityManager,
  payments: StripeSourceDependencies['payments'],
  { objectId, chargeId, paymentIntentId }: StripeNotice,
): Promise<void> {
  const warning = await payments.fraudWarning({ id: objectId, chargeId });
  const intentId = paymentIntentId ?? warning?.intentId;
  const recharge = intentId && (await recharges.findByIntent(em, intentId));
  if (warning && recharge) await fraudWarnings.hold(em, recharge, warning);
}

/** Releases what the card that the customer has now ends, so that the next sweep charges it. */
async function releaseForCard(
  em: EntityManager,
  payments: StripeSourceDependencies['payments'],
  { customerId }: StripeNotice,
): Promise<void> {
  if (!customerId) return;
  const paying = await organizations.ofCustomer(em, customerId);
  if (!(await isAnyStopped(em, paying))) return;
  const choice = await payments.chooseCard(customerId);
  if (choice.kind !== 'found') return;
  for (const { id } of paying) {
    await cardHolds.releaseForChangedCard(em, id, choice.card);
    await refusals.forgetCardless(em, id);
  }
}

/** Whether one of them may be held because of its card, or have none. */
async function isAnyStopped(em: EntityManager, paying: readonly { id: string }[]): Promise<boolean> {
  for (const { id } of paying) if ((await cardHolds.isCardInQuestion(em, id)) || (await refusals.isCardless(em, id))) return true;
  return false;
}
