/** The tables that are dispatched from, and what happens with a row of each. */
import type { Database, EntityManager } from '../database/database.ts';
import * as fraudWarnings from '../database/fraud-warnings.ts';
import * as holds from '../database/holds.ts';
import * as organizations from '../database/organizations.ts';
import * as recharges from '../database/recharges.ts';
import * as stripeEvents from '../database/stripe-events.ts';
import * as webhookEvents from '../database/webhook-events.ts';
import type { StripeNotice } from '../domain/stripe-notice.ts';
import type { PaymentsClient } from '../payments/client.ts';
import { topicOf } from '../payments/events.ts';
import type { WorkflowStarter } from '../workflow-starter.ts';
import type { Source } from './dispatcher.ts';

/** Alerts: each starts its workflow. */
export function alertSource(
  database: Database,
  workflows: Pick<WorkflowStarter, 'startRecharge'>,
): Source<webhookEvents.DispatchableEvent> {
  return {
    name: 'webhook_event',
    claim: (limit, leaseMs) => webhookEvents.claim(database.fork(), limit, leaseMs),
    handle: (event) => workflows.startRecharge(event),
    done: (id) => webhookEvents.markDispatched(database.fork(), id),
    release: (id, delayMs) => webhookEvents.releaseClaim(database.fork(), id, delayMs),
  };
}

export type StripeSourceDependencies = {
  database: Database;
  payments: Pick<PaymentsClient, 'chooseCard' | 'fraudWarning'>;
  workflows: Pick<WorkflowStarter, 'wakeRecharge' | 'followReversals'>;
};

/**
 * Stripe's events. One about money wakes the run that waits for it, a fraud warning holds, another card
 * releases. An event of an intent or a customer that is not ours needs nothing.
 */
export function stripeSource({ database, payments, workflows }: StripeSourceDependencies): Source<StripeNotice> {
  return {
    name: 'stripe_event',
    claim: (limit, leaseMs) => stripeEvents.claim(database.fork(), limit, leaseMs),
    handle: async (notice) => {
      const em = database.fork();
      switch (topicOf(notice.type)) {
        case 'fraud':
          return holdForWarning(em, payments, notice);
        case 'card':
          return releaseForCard(em, payments, notice);
        case 'money':
          return followMoney(em, workflows, notice);
      }
    },
    done: (id) => stripeEvents.markHandled(database.fork(), id),
    release: (id, delayMs) => stripeEvents.releaseClaim(database.fork(), id, delayMs),
  };
}

async function followMoney(
  em: EntityManager,
  workflows: StripeSourceDependencies['workflows'],
  { type, paymentIntentId }: StripeNotice,
): Promise<void> {
  const recharge = paymentIntentId && (await recharges.findByIntent(em, paymentIntentId));
  if (!recharge) return;
  await workflows.wakeRecharge(recharge);
  if (!type.startsWith('payment_intent.')) await workflows.followReversals(recharge);
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
  for (const { id } of await organizations.ofCustomer(em, customerId)) {
    if (!(await holds.isCardInQuestion(em, id))) continue;
    const choice = await payments.chooseCard(customerId);
    if (choice.kind === 'found') await holds.releaseForChangedCard(em, id, choice.card);
  }
}
