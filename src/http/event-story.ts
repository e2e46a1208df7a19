/** What became of an event, in words, and what settles it. */
import type { WebhookEvent } from '../database/entities.ts';
import * as holds from '../database/holds.ts';
import * as organizations from '../database/organizations.ts';
import * as refusals from '../database/refusals.ts';
import * as webhookEvents from '../database/webhook-events.ts';
import { describeHold } from '../domain/hold.ts';
import { isToldRefusal } from '../domain/outbound-event.ts';
import { REFUSALS, type Refusal } from '../domain/policy.ts';
import { toldRefusal } from '../domain/settings-warnings.ts';
import { goesOn, releaseOf, withTrouble } from '../domain/status.ts';
import { ANY_ID, rechargeByAnyId } from './any-id.ts';
import type { HttpDependencies } from './dependencies.ts';
import { Problem } from './problem.ts';
import { hindranceOf, type ServiceNeeds } from './service-now.ts';

export type EventStoryDependencies = Pick<HttpDependencies, 'database' | 'payments' | 'workflows' | ServiceNeeds>;

/** `next`: what happens by itself, or what a person does; null where nothing is to be done. */
export type EventStory = { summary: string; next: string | null };

/** By its own id, or the one that asked for the recharge that the id leads to. @throws Problem */
export async function eventByAnyId({ database, payments }: EventStoryDependencies, id: string): Promise<WebhookEvent> {
  const em = database.fork();
  const own = await webhookEvents.find(em, id);
  if (own) return own;
  const recharge = await rechargeByAnyId({ em, payments }, id);
  const event = recharge && (await webhookEvents.find(em, recharge.eventId));
  if (!event) throw new Problem('not-found', `there is no event ${id}: it takes the id of ${ANY_ID}`);
  return event;
}

export async function eventStory(dependencies: EventStoryDependencies, event: WebhookEvent): Promise<EventStory> {
  const { id, organizationId, outcome, teamId } = event;
  if (!event.processed) return openStory(dependencies, event);
  if (outcome === 'held' && organizationId) return heldStory(dependencies, event);
  if (outcome && isRefusal(outcome)) {
    // As its settings are now, as long as the refusal stands.
    const em = dependencies.database.fork();
    const stands = organizationId && isToldRefusal(outcome) && (await refusals.stands(em, organizationId, outcome));
    const organization = stands ? await organizations.find(em, organizationId) : null;
    if (!stands || !organization) return { summary: `nothing was charged: ${REFUSALS[outcome]}`, next: null };
    const { detail, action } = toldRefusal(organizations.policyOf(organization), outcome, organizationId);
    return { summary: `nothing was charged: ${detail}`, next: action };
  }
  switch (outcome) {
    case 'unknown_team':
      return {
        summary: `no organization has the LiteLLM team ${teamId}`,
        next: `bill org add <id> --team ${teamId}, or bill org set <id> --team ${teamId}; bill doctor says which may be meant`,
      };
    case 'ignored':
      return { summary: 'it is not about the budget of a team, so nothing was done', next: null };
    case 'duplicate':
      return { summary: `it repeats ${event.duplicateOf ?? 'another event'}, which asks for the same`, next: null };
    default:
      return { summary: `its recharge ended as ${outcome}`, next: outcome === 'needs_attention' ? `bill recharges show ${id}` : null };
  }
}

async function openStory(
  { database, ...service }: EventStoryDependencies,
  { id, organizationId, dispatchedAt }: WebhookEvent,
): Promise<EventStory> {
  const run = { organizationId: organizationId ?? '', eventId: id };
  const { trouble, stop } = await hindranceOf(service, { em: database.fork(), run, now: new Date() });
  if (!dispatchedAt) return { summary: 'it waits to be handed to a run', next: goesOn(undefined, stop) };
  return { summary: withTrouble('its run has not settled it yet', trouble), next: goesOn(trouble, stop) };
}

/** The hold is not stored with the event: it is the one that applied when the event was closed. */
async function heldStory({ database }: EventStoryDependencies, { organizationId, processedAt }: WebhookEvent): Promise<EventStory> {
  const hold = await holds.appliedAt(database.fork(), organizationId ?? '', processedAt ?? new Date());
  if (!hold) return { summary: `nothing was charged: ${REFUSALS.held}`, next: null };
  const ended = hold.releasedAt ? `; it ended at ${hold.releasedAt.toISOString()}` : '';
  const summary = `nothing was charged, ${describeHold({ ...hold, until: hold.until ?? null })}${ended}`;
  return { summary, next: hold.releasedAt ? null : releaseOf(hold.id) };
}

function isRefusal(outcome: string): outcome is Refusal {
  return Object.hasOwn(REFUSALS, outcome);
}
