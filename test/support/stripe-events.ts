/** Stripe's events on their way to the service, and what follows from them. */

import { idle } from './runs.ts';
import type { RechargeIds, World } from './world.ts';

/** The events that Stripe has of an intent, the oldest first. */
export async function eventsOf(world: World, intentId: string) {
  const { data } = await world.stripe.events.list({ limit: 100 });
  return data.filter((event) => JSON.stringify(event.data).includes(intentId)).toReversed();
}

/** Waits until the service has taken in every event of an intent. */
export async function delivered(world: World, intentId: string): Promise<void> {
  const isDelivered = async () => (await eventsOf(world, intentId)).every((event) => event.pending_webhooks === 0);
  await world.eventually(isDelivered, `every event of ${intentId} is delivered`);
}

/**
 * Waits until every event that was taken in is handed on, and the runs of the recharge have done what they
 * were told.
 */
export async function followed(world: World, { eventId, rechargeId }: RechargeIds): Promise<void> {
  const unhandled = 'select 1 from stripe_event where handled_at is null';
  await world.eventually(async () => (await world.sql.query(unhandled)).rowCount === 0, 'every event is handled');
  await idle(await world.runOf(eventId));
  await idle(world.reversalRunOf(rechargeId));
}

/**
 * Every event that Stripe has of an intent comes once more, in this order; waits until all is done that
 * follows from them.
 */
export async function tellEverythingAgain(world: World, ids: RechargeIds, arrange = (eventIds: string[]) => eventIds): Promise<void> {
  await delivered(world, ids.intentId);
  const eventIds = (await eventsOf(world, ids.intentId)).map(({ id }) => id);
  const resent = arrange(eventIds);
  const before = await arrivals(world, eventIds);
  for (const id of resent) await world.stripeKnob(`events/${id}/resend`);
  await world.eventually(async () => (await arrivals(world, eventIds)) === before + resent.length, 'every event has come again');
  await followed(world, ids);
}

/** How often these events were taken in. */
async function arrivals(world: World, eventIds: string[]): Promise<number> {
  const { deliveries } = await world.stripeState();
  return deliveries.filter(({ event, status }) => eventIds.includes(event) && status === 200).length;
}
