/** What the dispatchers hand on, and to whom. */
import type { Database } from '../database/database.ts';
import * as recharges from '../database/recharges.ts';
import * as stripeEvents from '../database/stripe-events.ts';
import * as webhookEvents from '../database/webhook-events.ts';
import type { WorkflowStarter } from '../workflow-starter.ts';
import type { Source } from './dispatcher.ts';

/** Alerts: each gets its workflow. */
export function alertSource(
  database: Database,
  workflows: Pick<WorkflowStarter, 'startRecharge'>,
): Source<webhookEvents.DispatchableEvent> {
  return {
    name: 'webhook_event',
    claim: (limit, leaseMs) => webhookEvents.claimForDispatch(database.fork(), limit, leaseMs),
    handle: (event) => workflows.startRecharge(event),
    done: (id) => webhookEvents.markDispatched(database.fork(), id),
    release: (id, delayMs) => webhookEvents.releaseClaim(database.fork(), id, delayMs),
  };
}

/** Stripe's events: they wake what waits for them. An event of an intent that is not ours is done with. */
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
    release: (id, delayMs) => stripeEvents.release(database.fork(), id, delayMs),
  };
}
