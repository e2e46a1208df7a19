/** Holds: what stops charges, for how long, and who ended it. */
import { type Card, holdSubjectOf } from '../domain/card.ts';
import { type AppliedHold, endedBy, type HoldReason, type HoldScope } from '../domain/hold.ts';
import { formatQuotaOrNull, type QuotaMicros } from '../domain/money.ts';
import type { EntityManager } from './database.ts';
import { Hold } from './entities.ts';
import { newId } from './ids.ts';
import { tell } from './outbound-events.ts';
import { type Page, type PageRequest, pageById } from './page.ts';
import { sqlList } from './sql.ts';

/** Who releases a hold whose time is over. */
const BY_TIME = 'time';

export type NewHold = {
  scope: HoldScope;
  subject: string;
  reason: HoldReason;
  /** What was seen, for whoever has to act. */
  detail: string;
  openedBy: string;
  organizationId?: string | null;
  cardId?: string | null;
  /** From now on, in milliseconds; null: until it is released. */
  forMs?: number | null;
  /** Its end, where that is known as a time. */
  until?: Date | null;
  amountMinor?: number | null;
  quota?: QuotaMicros | null;
};

/**
 * Opens a hold, in the transaction of what leads to it. One of a scope, subject and reason is open at a time:
 * a further one makes it last longer where it would, and leaves the rest as it is.
 *
 * @returns the id of the one that is open, and whether it is new.
 */
export async function open(tx: EntityManager, hold: NewHold): Promise<{ id: string; isNew: boolean }> {
  const { scope, subject, reason } = hold;
  return tx.transactional(async (inner) => {
    await lockOrganizations(inner, scope === 'organization' ? [subject] : []);
    const isOver = 'scope = ? and subject = ? and reason = ? and until <= now()';
    await releaseWhere(inner, isOver, [scope, subject, reason], { by: BY_TIME, reason: null });
    const [row] = await inner.execute<(ToldHold & { is_new: boolean })[]>(
      `insert into hold (id, scope, subject, reason, detail, opened_by, organization_id, card_id, amount_minor, quota, until)
       values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, coalesce(?::timestamptz, now() + ? * interval '1 millisecond'))
       on conflict (scope, subject, reason) where released_at is null
         do update set until = case when hold.until is null or excluded.until is null then null else greatest(hold.until, excluded.until) end
       returning ${TOLD}, (xmax = 0) as is_new`,
      [
        newId('hld'),
        scope,
        subject,
        reason,
        hold.detail,
        hold.openedBy,
        hold.organizationId ?? null,
        hold.cardId ?? null,
        hold.amountMinor ?? null,
        formatQuotaOrNull(hold.quota),
        hold.until?.toISOString() ?? null,
        hold.forMs ?? null,
      ],
    );
    if (!row) throw new Error(`no hold of ${scope} ${subject} was stored`);
    if (row.is_new) await tellOpened(inner, row);
    return { id: row.id, isNew: row.is_new };
  });
}

/**
 * Always before the holds on them, as a reservation does, so that no two wait for each other: a trigger
 * mirrors such a hold in the organization's row.
 */
async function lockOrganizations(tx: EntityManager, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  await tx.execute(
    `select from organization_balance_config where c_organization_id in (select jsonb_array_elements_text(?::jsonb))
     order by c_organization_id for no key update`,
    [JSON.stringify(ids)],
  );
}

/**
 * Adds what was seen since to the open hold of its scope, subject and reason, and tells the hold once more. False
 * when none is open, or it names that already.
 */
export async function addTo(tx: EntityManager, { scope, subject, reason, detail, openedBy }: NewHold): Promise<boolean> {
  const [row] = await tx.execute<ToldHold[]>(
    `update hold set detail = detail || '; ' || ?, opened_by = opened_by || ' ' || ?
     where scope = ? and subject = ? and reason = ? and released_at is null and ? <> all (string_to_array(opened_by, ' '))
     returning ${TOLD}`,
    [detail, openedBy, scope, subject, reason, openedBy],
  );
  if (row) await tellOpened(tx, row, `/${openedBy}`);
  return row !== undefined;
}

/**
 * Adds a person's reason to the open hold, with who gives it, and tells the hold once more: whoever releases it is to see
 * each of them. Once: what the hold says already is not said again.
 */
export async function addReason(tx: EntityManager, { scope, subject, reason, detail, openedBy }: NewHold): Promise<void> {
  const added = `${openedBy}: ${detail}`;
  const [row] = await tx.execute<ToldHold[]>(
    `update hold set detail = detail || '; ' || ?
     where scope = ? and subject = ? and reason = ? and released_at is null
       and position(? in detail) = 0 and (opened_by, detail) <> (?, ?)
     returning ${TOLD}`,
    [added, scope, subject, reason, added, openedBy, detail],
  );
  if (row) await tellOpened(tx, row, `/${row.detail.length}`);
}

/**
 * Adds to the open hold that the opener has opened or was added to what has become of it, and tells the hold once more.
 * Once: what the detail says already is not said again.
 */
export async function note(tx: EntityManager, { subject, reason, openedBy, detail }: Omit<NewHold, 'scope'>): Promise<void> {
  const [row] = await tx.execute<ToldHold[]>(
    `update hold set detail = detail || '; ' || ?
     where scope = 'organization' and subject = ? and reason = ? and released_at is null
       and ? = any (string_to_array(opened_by, ' ')) and position(? in detail) = 0
     returning ${TOLD}`,
    [detail, subject, reason, openedBy, detail],
  );
  if (row) await tellOpened(tx, row, `/${openedBy}/decided`);
}

export type Release = { by: string; reason: string | null };

/** False when the hold has ended already. */
export async function release(tx: EntityManager, id: string, release: Release): Promise<boolean> {
  return (await releaseWhere(tx, 'id = ?', [id], release)) > 0;
}

export type Releasable = { scope: HoldScope; subject: string; reasons: readonly HoldReason[] };

/** Releases the open holds of these reasons on one subject. */
export async function releaseOf(tx: EntityManager, releasable: Releasable, release: Release): Promise<void> {
  await releaseEachOf(tx, [releasable], release);
}

/** The same for several subjects. Where nothing is open, which is nearly always, it is one statement. */
export async function releaseEachOf(tx: EntityManager, releasable: readonly Releasable[], release: Release): Promise<void> {
  const conditions = releasable.map(({ reasons }) => `scope = ? and subject = ? and reason in (${sqlList(reasons)})`);
  const values = releasable.flatMap(({ scope, subject }) => [scope, subject]);
  await releaseWhere(tx, `(${conditions.join(' or ')})`, values, release);
}

/**
 * The organization pays in another currency, by another customer or for another team: what its holds have shown is no
 * amount that a person has approved any more.
 */
export async function forgetAmounts(tx: EntityManager, organizationId: string): Promise<void> {
  await tx.execute('update hold set amount_minor = null where organization_id = ? and amount_minor is not null', [organizationId]);
}

/** Releases every hold whose time is over: it ended then, and is told now. */
export async function releaseExpired(em: EntityManager): Promise<number> {
  return releaseWhere(em, 'until <= now()', [], { by: BY_TIME, reason: null });
}

/** Releases the open holds of a condition, SQL. @returns how many. */
export async function releaseWhere(tx: EntityManager, condition: string, values: unknown[], { by, reason }: Release): Promise<number> {
  const isReleased = `released_at is null and ${condition}`;
  const found = await tx.execute<Pick<Hold, 'scope' | 'subject'>[]>(`select scope, subject from hold where ${isReleased}`, values);
  if (found.length === 0) return 0;
  return tx.transactional(async (inner) => {
    const onOrganizations = found.filter(({ scope }) => scope === 'organization');
    await lockOrganizations(
      inner,
      onOrganizations.map(({ subject }) => subject),
    );
    const released = await inner.execute<ToldHold[]>(
      `update hold set released_at = now(), released_by = ?, release_reason = ? where ${isReleased} returning ${TOLD}`,
      [by, reason, ...values],
    );
    for (const hold of released) await tellReleased(inner, hold, { by, reason });
    return released.length;
  });
}

/** What is told of a hold, as SQL text. */
const TOLD = 'id, scope, subject, reason, detail, opened_by, organization_id, until';
type ToldHold = Pick<Hold, 'id' | 'scope' | 'subject' | 'reason' | 'detail'> & {
  opened_by: string;
  organization_id: string | null;
  until: string | null;
};

/** @param further ends the key of what is told of a hold that is open already. */
async function tellOpened(tx: EntityManager, hold: ToldHold, further = ''): Promise<void> {
  const { id, detail, until, organization_id: organizationId } = hold;
  const data = {
    ...factsOf(hold),
    detail,
    by: hold.opened_by,
    until: until === null ? null : new Date(until).toISOString(),
    action: `${endedBy(hold)}; by hand: bill release ${id} "reason"`,
  };
  await tell(tx, { type: 'hold.opened', organizationId, key: `hold/${id}/opened${further}`, data });
}

async function tellReleased(tx: EntityManager, hold: ToldHold, { by, reason }: Release): Promise<void> {
  const { id, organization_id: organizationId } = hold;
  const data = { ...factsOf(hold), detail: reason ?? 'its time is over', by };
  await tell(tx, { type: 'hold.released', organizationId, key: `hold/${id}/released`, data });
}

function factsOf({ id, scope, subject, reason }: ToldHold) {
  return { hold_id: id, scope, subject: scope === 'service' ? null : subject, reason };
}

/**
 * The holds that apply to an organization now, the oldest first.
 *
 * @param card the card that would be charged; without it holds on cards are left out.
 */
export async function applyingTo(em: EntityManager, organizationId: string, card?: Card): Promise<AppliedHold[]> {
  const subjects = card ? [holdSubjectOf(card), card.id] : [];
  const rows = await em.execute<HoldRow[]>(
    `select id, scope, reason, detail, until from hold
     where released_at is null and (until is null or until > now())
       and (scope = 'service' or scope = 'organization' and subject = ? or scope = 'card' and subject in (select jsonb_array_elements_text(?::jsonb)))
     order by since, id`,
    [organizationId, JSON.stringify(subjects)],
  );
  return rows.map(applied);
}

/** PostgreSQL's driver leaves times as text. */
type HoldRow = Omit<AppliedHold, 'until'> & { until: string | null };

function applied({ until, ...hold }: HoldRow): AppliedHold {
  return { ...hold, until: until === null ? null : new Date(until) };
}

/**
 * For each of the organizations, the holds that apply whatever its card: of the service and of the
 * organization. An organization without one has no entry.
 */
export async function applyingToEach(em: EntityManager, organizationIds: readonly string[]): Promise<Map<string, AppliedHold[]>> {
  const rows = await em.execute<(HoldRow & { organization: string })[]>(
    `select o.id as organization, h.id, h.scope, h.reason, h.detail, h.until
     from jsonb_array_elements_text(?::jsonb) o (id)
     join hold h on h.scope = 'service' or h.scope = 'organization' and h.subject = o.id
     where h.released_at is null and (h.until is null or h.until > now())
     order by h.since, h.id`,
    [JSON.stringify(organizationIds)],
  );
  const byOrganization = new Map<string, AppliedHold[]>();
  for (const { organization, ...hold } of rows)
    byOrganization.set(organization, [...(byOrganization.get(organization) ?? []), applied(hold)]);
  return byOrganization;
}

/** Up to `limit` open holds of this scope and these reasons behind the id `after`, in the order of ids. */
export async function openOf(
  em: EntityManager,
  { scope, reasons, after = '', limit }: { scope: HoldScope; reasons: readonly HoldReason[]; after?: string; limit: number },
): Promise<Hold[]> {
  const where = { scope, reason: { $in: [...reasons] }, releasedAt: null, id: { $gt: after } };
  return em.find(Hold, where, { orderBy: { id: 'asc' }, limit });
}

/** Up to `limit` open holds that do not end with their time, the oldest first. */
export async function standing(em: EntityManager, limit: number): Promise<Hold[]> {
  return em.find(Hold, { until: null, releasedAt: null }, { orderBy: { since: 'asc' }, limit });
}

/**
 * Whether a probe has ended a hold of this reason before, and no budget has been raised since: then the probe
 * shows nothing, and a person has to look.
 */
export async function hasProbeFailedBefore(em: EntityManager, { scope, reason }: Hold): Promise<boolean> {
  const before = await em.execute(
    `select from hold h where scope = ? and reason = ? and released_by = 'probe'
       and not exists (select from recharge r where r.status = 'succeeded' and r.updated_at > h.released_at) limit 1`,
    [scope, reason],
  );
  return before.length > 0;
}

/** The open holds on each of the organizations themselves, the oldest first; none: no entry. */
export async function onOrganizations(em: EntityManager, organizationIds: readonly string[]): Promise<Map<string, Hold[]>> {
  const open = { scope: 'organization', subject: { $in: [...organizationIds] }, releasedAt: null } as const;
  return Map.groupBy(await em.find(Hold, open, { orderBy: { since: 'asc' } }), ({ subject }) => subject);
}

/** The oldest that applied to the organization at a time: its own, on its card, or of the service. */
export async function appliedAt(em: EntityManager, organizationId: string, at: Date): Promise<Hold | null> {
  // One whose time is over is released by a later sweep.
  const isOpenThen = {
    since: { $lte: at },
    $and: [{ $or: [{ releasedAt: null }, { releasedAt: { $gte: at } }] }, { $or: [{ until: null }, { until: { $gt: at } }] }],
  };
  const oldest = { orderBy: { since: 'asc' } } as const;
  // Apart, because each has an index.
  const own = await em.findOne(Hold, { organizationId, ...isOpenThen }, oldest);
  const ofService = await em.findOne(Hold, { scope: 'service', ...isOpenThen }, oldest);
  return own && ofService ? (own.since <= ofService.since ? own : ofService) : (own ?? ofService);
}

/** Those of the ids that there are, by id. */
export async function ofIds(em: EntityManager, ids: readonly string[]): Promise<Map<string, Hold>> {
  return new Map((await em.find(Hold, { id: { $in: [...ids] } })).map((hold) => [hold.id, hold]));
}

/** Those that a recharge of the organization has opened, or the reversals of its payment, or added to; the oldest first. */
export async function openedBy(em: EntityManager, organizationId: string, openers: readonly string[]): Promise<Hold[]> {
  const rows = await em.execute<{ id: string }[]>(
    `select id from hold where organization_id = ?
       and string_to_array(opened_by, ' ') && array(select jsonb_array_elements_text(?::jsonb))`,
    [organizationId, JSON.stringify(openers)],
  );
  return em.find(Hold, { id: { $in: rows.map(({ id }) => id) } }, { orderBy: { since: 'asc' } });
}

/** Those that were opened or released since then, at most `limit`. */
export async function changedSince(em: EntityManager, since: Date, limit: number): Promise<Hold[]> {
  return em.find(Hold, { $or: [{ since: { $gte: since } }, { releasedAt: { $gte: since } }] }, { orderBy: { since: 'asc' }, limit });
}

export async function find(em: EntityManager, id: string): Promise<Hold | null> {
  return em.findOne(Hold, id);
}

export async function get(em: EntityManager, id: string): Promise<Hold> {
  return em.findOneOrFail(Hold, id);
}

export type HoldFilter = Partial<Pick<Hold, 'organizationId' | 'scope' | 'reason'>> & { isOpen?: boolean };

/**
 * Newest first. Of an organization: those that it has led to, and the open ones on the card of its last recharge,
 * whoever has led to them.
 *
 * @throws BadCursorError
 */
export async function list(em: EntityManager, { isOpen, organizationId, ...filter }: HoldFilter, page: PageRequest): Promise<Page<Hold>> {
  const open = isOpen ? { releasedAt: null } : {};
  const own = organizationId ? { $or: [{ organizationId }, { id: { $in: await openOnCardOf(em, organizationId) } }] } : {};
  return pageById(em, Hold, { prefix: 'hld', filter: { ...filter, ...open, ...own }, ...page });
}

/** The open holds on the card of its last recharge. */
async function openOnCardOf(em: EntityManager, organizationId: string): Promise<string[]> {
  const rows = await em.execute<{ id: string }[]>(
    `select h.id from (
       select concat_ws(' ', card_fingerprint, nullif(card_expiry, '')) as card, payment_method_id from recharge
       where organization_id = ? and payment_method_id is not null order by created_at desc limit 1) last
     join hold h on h.scope = 'card' and h.subject in (last.card, last.payment_method_id) and h.released_at is null`,
    [organizationId],
  );
  return rows.map(({ id }) => id);
}
