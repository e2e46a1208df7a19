/** The inbox table: everything that asks for a recharge, stored before it is answered; see receiving.ts. */
import type { FailuresInARow } from '../domain/cool-down.ts';
import { type EventOutcome, isSuccess } from '../domain/event-outcome.ts';
import { isToldRefusal } from '../domain/outbound-event.ts';
import type { RechargeSource } from '../domain/recharge-source.ts';
import { UNDER_WAY_STATUSES } from '../domain/recharge-status.ts';
import { BY_CARD } from '../domain/refusal-causes.ts';
import type { EntityManager } from './database.ts';
import { WebhookEvent } from './entities.ts';
import { type Claim, claimRows, type Inbox, markDone, releaseRow } from './lease.ts';
import { type Page, type PageRequest, pageById } from './page.ts';
import * as refusals from './refusals.ts';
import { sqlList } from './sql.ts';
import { inTransaction } from './transaction.ts';

export { type IncomingEvent, type Receipt, receive } from './receiving.ts';

export type DispatchableEvent = {
  id: string;
  organizationId: string;
  teamId: string;
  source: RechargeSource;
  eventType: string;
  /** Of the request or the sweep that it came with, where that was traced. */
  traceparent?: string | null | undefined;
};

const INBOX: Inbox = {
  table: 'webhook_event',
  doneAt: 'dispatched_at',
  pending: 'not processed and dispatched_at is null',
  orderBy: 'id',
  columns: 'id, organization_id as "organizationId", team_id as "teamId", source, event_type as "eventType", traceparent',
};

/** Claims events that are not dispatched; see lease.ts. */
export async function claim(em: EntityManager, claim: Claim): Promise<DispatchableEvent[]> {
  return claimRows<DispatchableEvent>(em, INBOX, claim);
}

/** Call it only when the event's workflow was started: nothing starts it again by itself after this. */
export async function markDispatched(em: EntityManager, id: string): Promise<number | undefined> {
  return markDone(em, INBOX, id);
}

/** Releases a claim in `delayMs`. */
export async function releaseClaim(em: EntityManager, id: string, delayMs: number): Promise<void> {
  await releaseRow(em, INBOX, { id, delayMs });
}

export type ClosedEvent = { organizationId: string | null; teamId: string | null; source: RechargeSource; seconds: number };

/**
 * Closes an event with its outcome, and tells a refusal that is new. The first close stands, so a retry changes
 * nothing, unless a person settled it since, or its recharge has ended so: a restored database may have closed the
 * event before it got its recharge back.
 *
 * @returns what was closed, and how many seconds it took from its receipt; undefined where it was closed before.
 */
export async function close(em: EntityManager, id: string, outcome: EventOutcome): Promise<ClosedEvent | undefined> {
  return inTransaction(em, async (tx) => {
    const [closed] = await tx.execute<ClosedEvent[]>(
      `update webhook_event set processed = true, success = ?, outcome = ?, processed_at = now()
       where id = ? and (not processed or outcome <> ? and (outcome = 'needs_attention'
         or exists (select from recharge r where r.event_id = webhook_event.id and r.status = ?)))
       returning organization_id as "organizationId", team_id as "teamId", source, extract(epoch from now() - received_at)::float as seconds`,
      [isSuccess(outcome), outcome, id, outcome, outcome],
    );
    if (closed?.organizationId && isToldRefusal(outcome))
      await refusals.note(tx, { organizationId: closed.organizationId, reason: outcome, eventId: id, teamId: closed.teamId });
    return closed;
  });
}

/**
 * Up to `limit` events behind the id `after` that are open, or whose recharge is, and that did not change for
 * `idleMs`, in the order of ids. Recharges
 * that need attention are left out.
 */
export async function findIdle(
  em: EntityManager,
  { idleMs, after, limit }: { idleMs: number; after: string; limit: number },
): Promise<DispatchableEvent[]> {
  return em.execute<DispatchableEvent[]>(
    `select e.id, e.organization_id as "organizationId", e.team_id as "teamId", e.source, e.event_type as "eventType", e.traceparent
     from (
       select id from webhook_event where not processed
       union select event_id from recharge where status in (${sqlList(UNDER_WAY_STATUSES)})) open
     join webhook_event e on e.id = open.id left join recharge r on r.event_id = e.id
     where e.organization_id is not null and e.duplicate_of is null
       and greatest(e.received_at, e.dispatched_at, r.updated_at) < now() - ? * interval '1 millisecond' and e.id > ?
     order by e.id limit ?`,
    [idleMs, after, limit],
  );
}

/** The oldest events, up to `limit`, that have been open for `idleMs` without a recharge: nothing was decided on them. */
export async function findUndecided(em: EntityManager, { idleMs, limit }: { idleMs: number; limit: number }): Promise<DispatchableEvent[]> {
  return em.execute<DispatchableEvent[]>(
    `select e.id, e.organization_id as "organizationId", e.team_id as "teamId", e.source, e.event_type as "eventType", e.traceparent
     from webhook_event e
     where not e.processed and e.organization_id is not null and e.duplicate_of is null
       and greatest(e.received_at, e.dispatched_at) < now() - ? * interval '1 millisecond'
       and not exists (select from recharge r where r.event_id = e.id)
     order by e.id limit ?`,
    [idleMs, limit],
  );
}

/** Of one organization: whether an event is open, and the sweep's own events that brought nothing. */
export type SweepStanding = { hasOpenEvent: boolean; fruitless: FailuresInARow };

/**
 * What a sweep has to know before it reports an organization again. Fruitless are its own events that failed
 * since the last recharge that succeeded, the last hold of it or of the service that ended, or the last time that its
 * customer replaced a card that is held, and that arrived since its settings were last changed. One that met an open recharge is left out, because that recharge counts by itself;
 * so is one that met no card, when Stripe has shown one since.
 */
export async function sweepStandings(em: EntityManager, organizationIds: readonly string[]): Promise<Map<string, SweepStanding>> {
  const rows = await em.execute<{ id: string; open: boolean; fruitless: number; last_ago_ms: number | null }[]>(
    `select c_organization_id as id,
       exists (select from webhook_event e where e.organization_id = o.c_organization_id and not e.processed) as open,
       own.fruitless, own.last_ago_ms
     from organization_balance_config o,
     lateral (
       select count(*)::integer as fruitless, (extract(epoch from now() - max(e.processed_at)) * 1000)::float as last_ago_ms
       from webhook_event e where e.organization_id = o.c_organization_id and e.source = 'sweep' and not e.success
         and e.outcome <> 'recharge_open' and e.received_at > o.updated_at
         and (e.outcome not in (${sqlList(BY_CARD)}) or exists (
           select from refusal f where f.organization_id = o.c_organization_id and f.reason = e.outcome and f.since <= e.processed_at))
         and e.processed_at > greatest(
           (select max(r.updated_at) from recharge r where r.organization_id = o.c_organization_id and r.status = 'succeeded'),
           (select max(h.released_at) from hold h where h.organization_id = o.c_organization_id),
           (select max(c.at) from card_replaced c where c.organization_id = o.c_organization_id),
           (select max(h.released_at) from hold h where h.scope = 'service'), '-infinity')) own
     where c_organization_id in (select jsonb_array_elements_text(?::jsonb))`,
    [JSON.stringify(organizationIds)],
  );
  return new Map(
    rows.map(({ id, open, fruitless, last_ago_ms: lastAgoMs }) => [id, { hasOpenEvent: open, fruitless: { count: fruitless, lastAgoMs } }]),
  );
}

/**
 * Those of the organizations for whose present LiteLLM team quota was ever asked for: by a recharge, or by an
 * event that is not the sweep's own and that retention has not removed.
 */
export async function askedForQuota(em: EntityManager, organizationIds: readonly string[]): Promise<Set<string>> {
  const rows = await em.execute<{ id: string }[]>(
    `select c_organization_id as id from organization_balance_config o
     where c_organization_id in (select jsonb_array_elements_text(?::jsonb)) and (
       exists (select from recharge r where r.organization_id = o.c_organization_id and r.litellm_team_id = o.litellm_team_id)
       or exists (select from webhook_event e where e.team_id = o.litellm_team_id and e.source <> 'sweep' and e.crossing is not null))`,
    [JSON.stringify(organizationIds)],
  );
  return new Set(rows.map(({ id }) => id));
}

/** A team that alerts come for and no organization has, and when its last alert came. */
export type StrayTeam = { teamId: string; lastAlertAt: Date };

/** Up to `limit` such teams with an alert in the last `withinMs`, the latest first. */
export async function strayTeams(em: EntityManager, { withinMs, limit }: { withinMs: number; limit: number }): Promise<StrayTeam[]> {
  const rows = await em.execute<{ team_id: string; last: string }[]>(
    `select team_id, max(received_at) as last from webhook_event e
     where organization_id is null and outcome = 'unknown_team' and received_at > now() - ? * interval '1 millisecond'
       and not exists (select from organization_balance_config o where o.litellm_team_id = e.team_id)
     group by team_id order by last desc limit ?`,
    [withinMs, limit],
  );
  return rows.map(({ team_id: teamId, last }) => ({ teamId, lastAlertAt: new Date(last) }));
}

/** When the last alert of LiteLLM arrived; null when none ever did. */
export async function lastAlertAt(em: EntityManager): Promise<Date | null> {
  const [last] = await em.find(WebhookEvent, { source: 'webhook' }, { orderBy: { id: 'desc' }, limit: 1 });
  return last?.receivedAt ?? null;
}

export async function find(em: EntityManager, id: string): Promise<WebhookEvent | null> {
  return em.findOne(WebhookEvent, id);
}

/**
 * Up to `limit` events that were received or closed at or after `since`, oldest first, without copies of an
 * open crossing.
 */
export async function changedSince(em: EntityManager, since: Date, limit: number): Promise<WebhookEvent[]> {
  const changed = { $or: [{ receivedAt: { $gte: since } }, { processedAt: { $gte: since } }] };
  return em.find(WebhookEvent, { ...changed, duplicateOf: null }, { orderBy: { id: 'asc' }, limit });
}

export type EventFilter = Partial<Pick<WebhookEvent, 'teamId' | 'organizationId' | 'eventType' | 'processed' | 'success' | 'outcome'>>;

/** Newest first. @throws BadCursorError */
export async function list(em: EntityManager, filter: EventFilter, page: PageRequest): Promise<Page<WebhookEvent>> {
  return pageById(em, WebhookEvent, { prefix: 'evt', filter, ...page });
}
