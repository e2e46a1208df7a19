/** The tables that are dispatched from, and what happens with a row of each. */
import type { Database } from '../database/database.ts';
import * as recharges from '../database/recharges.ts';
import * as stripeEvents from '../database/stripe-events.ts';
import * as webhookEvents from '../database/webhook-events.ts';
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

/**
 * Stripe's events: each wakes the run that waits for it. An event of an intent that is not ours needs
 * nothing.
 */
export function stripeSource(
  database: Database,
  workflows: Pick<WorkflowStarter, 'wakeRecharge' | 'followReversals'>,
): Source<stripeEvents.Notice> {
  return {
    name: 'stripe_event',
    claim: (limit, leaseMs) => stripeEvents.claim(database.fork(), limit, leaseMs),
    handle: async ({ type, paymentIntentId }) => {
      const recharge = paymentIntentId && (await recharges.findByIntent(database.fork(), paymentIntentId));
      if (!recharge) return;
      await workflows.wakeRecharge(recharge);
      if (!type.startsWith('payment_intent.')) await workflows.followReversals(recharge);
    },
    done: (id) => stripeEvents.markHandled(database.fork(), id),
    release: (id, delayMs) => stripeEvents.releaseClaim(database.fork(), id, delayMs),
  };
}
