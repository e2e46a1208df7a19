/** Recharges, and with them the ledger: a recharge's status and the transfer that the status stands for change together. */
import { type EntityData, LockMode, type RequiredEntityData, raw, UniqueConstraintViolationException } from '@mikro-orm/core';
import { classifyDecline } from '../domain/decline.ts';
import { formatQuota, minorUnits, type QuotaMicros, quotaMicros } from '../domain/money.ts';
import type { Decision, RechargeHistory, RechargePolicy, Refusal } from '../domain/policy.ts';
import { isOpen, LATE_MOVES, type RechargeStatus, statusesBefore } from '../domain/recharge-status.ts';
import type { EntityManager } from './database.ts';
import { Organization, Recharge, type TimelineStep, type TransferKind, WebhookEvent } from './entities.ts';
import { newId } from './ids.ts';
import * as ledger from './ledger.ts';
import { policyOf, releaseBudget } from './organizations.ts';
import { type Page, type PageRequest, toPage } from './page.ts';

/** The recharge is in a status from which the wanted move does not start: somebody else has moved it. */
export class UnexpectedStatusError extends Error {
  override name = 'UnexpectedStatusError';
  constructor(id: string, to: RechargeStatus, actual: RechargeStatus) {
    super(`recharge ${id} is ${actual} and cannot become ${to}`);
  }
}

export type Reservation =
  | { kind: 'reserved'; recharge: Recharge }
  | { kind: 'refused'; refusal: Refusal }
  | { kind: 'stale' }
  | { kind: 'event_closed' };

/**
 * Decides under the organization's lock and, when the decision is to recharge, reserves it: the amount is frozen, and no
 * other recharge of the organization can begin. An event that has a recharge already gets that one.
 *
 * @param seenVersion the organization's version from before its balance was read; `stale` when a recharge has come to rest
 *   since, because the balance then is not what `decide` believes.
 */
export async function reserve(
  em: EntityManager,
  event: Pick<WebhookEvent, 'id' | 'source'>,
  organizationId: string,
  seenVersion: number,
  decide: (policy: RechargePolicy, history: RechargeHistory) => Decision,
): Promise<Reservation> {
  return em.transactional(async (tx) => {
    const organization = await tx.findOneOrFail(Organization, organizationId, { lockMode: LockMode.PESSIMISTIC_WRITE });
    const existing = await tx.findOne(Recharge, { eventId: event.id });
    if (existing) return { kind: 'reserved', recharge: existing };
    const { processed } = await tx.findOneOrFail(WebhookEvent, event.id, { lockMode: LockMode.PESSIMISTIC_READ, refresh: true });
    if (processed) return { kind: 'event_closed' };
    if (organization.version !== seenVersion) return { kind: 'stale' };

    const decision = decide(policyOf(organization), await historyOf(tx, organization));
    if (decision.kind === 'refuse') return { kind: 'refused', refusal: decision.refusal };

    const id = newId('rch');
    // PostgreSQL's clock, by which the days of the daily limit are reckoned too.
    const now = raw('now()');
    // The decision was made on a budget that LiteLLM has just shown.
    await tx.nativeUpdate(Organization, organizationId, { litellmSeenAt: now as unknown as Date });
    await tx.insert(Recharge, {
      id,
      eventId: event.id,
      organizationId,
      litellmTeamId: organization.litellmTeamId,
      source: event.source,
      status: 'reserved',
      stripeCustomerId: organization.stripeCustomerId,
      amountMinor: decision.amount,
      currency: organization.currency,
      quotaGranted: decision.quota,
      balanceSeen: decision.balance,
      quotaBefore: decision.quotaBefore,
      quotaAfter: quotaMicros(decision.quotaBefore + decision.quota),
      keysSpent: 0,
      timeline: [{ at: new Date().toISOString(), status: 'reserved' }],
      createdAt: now,
      updatedAt: now,
    } as unknown as RequiredEntityData<Recharge>);
    return { kind: 'reserved', recharge: await tx.findOneOrFail(Recharge, id) };
  });
}

/** SQL for the beginning of the day or month in which `instant` lies, in a time zone. @param zone SQL for its IANA name. */
export function beginningOf(unit: 'day' | 'month', zone: string, instant = 'now()'): string {
  return `date_trunc('${unit}', ${instant} at time zone ${zone}) at time zone ${zone}`;
}

async function historyOf(tx: EntityManager, { id }: Organization): Promise<RechargeHistory> {
  const history = (await historiesOf(tx, [id])).get(id);
  if (!history) throw new Error(`organization ${id} is gone`);
  return history;
}

type HistoryRow = { id: string; attempts: number; charged: string; open: boolean; failures: number; failed_ago_ms: number | null };

/**
 * What has been tried, by organization: every attempt of its calendar day, declined ones too, while a cancelled one reached
 * no card; what its calendar month has cost, or may yet; and the failures since its last success, whoever asked for them.
 * PostgreSQL's clock and its time zones decide, whatever a worker's clock says.
 */
export async function historiesOf(em: EntityManager, organizationIds: readonly string[]): Promise<Map<string, RechargeHistory>> {
  const rows = await em.execute<HistoryRow[]>(
    `select o.c_organization_id as id, today.attempts, month.charged, open.open, failed.failures, failed.failed_ago_ms
     from organization_balance_config o,
     lateral (
       select count(*)::integer as attempts from recharge r
       where r.organization_id = o.c_organization_id and r.status <> 'cancelled'
         and r.created_at >= ${beginningOf('day', 'o.time_zone')}) today,
     lateral (
       select coalesce(sum(r.amount_minor), 0) as charged from recharge r
       where r.organization_id = o.c_organization_id and r.currency = o.currency
         and r.status not in ('cancelled', 'declined', 'action_required', 'refunded')
         and r.created_at >= ${beginningOf('month', 'o.time_zone')}) month,
     lateral (
       select exists (select from recharge r where r.organization_id = o.c_organization_id
         and r.status in ('reserved', 'charging', 'processing', 'charged', 'refunding', 'needs_attention'))) open (open),
     lateral (
       select count(*)::integer as failures, (extract(epoch from now() - max(r.updated_at)) * 1000)::float as failed_ago_ms
       from recharge r
       where r.organization_id = o.c_organization_id and r.status in ('declined', 'action_required', 'refunded')
         and r.created_at > coalesce(
           (select s.created_at from recharge s where s.organization_id = o.c_organization_id and s.status = 'succeeded'
            order by s.created_at desc limit 1), '-infinity')) failed
     where o.c_organization_id in (select jsonb_array_elements_text(?::jsonb))`,
    [JSON.stringify(organizationIds)],
  );
  return new Map(
    rows.map(({ id, attempts, charged, open, failures, failed_ago_ms: lastAgoMs }) => [
      id,
      {
        attemptsToday: attempts,
        chargedThisMonth: minorUnits(Number(charged)),
        hasOpenRecharge: open,
        failures: { count: failures, lastAgoMs },
      },
    ]),
  );
}

export type Changes = Partial<
  Pick<Recharge, 'paymentMethodId' | 'paymentIntentId' | 'refundId' | 'failureCode' | 'declineCode' | 'adviceCode' | 'failureMessage'>
>;

export type Move = {
  changes?: Changes;
  /** What an operator wants to know about this step, for the timeline. */
  facts?: Omit<TimelineStep, 'at' | 'status'>;
  /** The ledger transfer that this move stands for. */
  transfer?: TransferKind;
  /** How much of it; all of the recharge unless said. */
  portion?: ledger.Portion;
  /** The statuses that the move may start from, where those of the ordinary moves are too many or too few. */
  from?: readonly RechargeStatus[];
};

/**
 * Moves a recharge forward: the status, its timeline, the ledger transfer and, when the recharge comes to rest, the
 * organization's version and its hold on the budget, all or nothing. A recharge that is in `to` already is left as it is, so a retry is harmless.
 *
 * @throws UnexpectedStatusError from any other status that the move does not start from.
 */
export async function move(
  em: EntityManager,
  recharge: Recharge,
  to: RechargeStatus,
  { changes = {}, facts = {}, transfer, portion, from = statusesBefore(to) }: Move = {},
): Promise<Recharge> {
  return em.transactional(async (tx) => {
    // The organization first, as `reserve` does, so that no two can wait for each other.
    await tx.execute('update organization_balance_config set version = version + ? where c_organization_id = ?', [
      isOpen(to) ? 0 : 1,
      recharge.organizationId,
    ]);
    const moved = await tx.nativeUpdate(Recharge, { id: recharge.id, status: { $in: [...from] } }, {
      ...changes,
      status: to,
      updatedAt: raw('clock_timestamp()'),
      timeline: appended({ status: to, ...facts }),
    } as EntityData<Recharge>);
    const current = await tx.findOneOrFail(Recharge, recharge.id, { refresh: true });
    if (moved === 0 && current.status !== to) throw new UnexpectedStatusError(recharge.id, to, current.status);
    if (moved === 1 && transfer) await ledger.append(tx, current, transfer, portion);
    if (to !== 'charged') await releaseBudget(tx, recharge.organizationId, recharge.id);
    return current;
  });
}

/**
 * Gives a recharge at rest to a person, with the money that Stripe holds for it after all. False while another recharge of
 * the organization is open: one at a time.
 */
export async function reopen(
  em: EntityManager,
  recharge: Recharge,
  { code, reason, transfer, portion }: { code: string; reason: string; transfer: TransferKind; portion: ledger.Portion },
): Promise<boolean> {
  const changes = { failureCode: code, failureMessage: reason };
  const from = LATE_MOVES.reopen.from;
  try {
    await move(em, recharge, 'needs_attention', { from, changes, facts: { reason }, transfer, portion });
    return true;
  } catch (error) {
    if (error instanceof UniqueConstraintViolationException) return false;
    throw error;
  }
}

/** Tells of something that leaves the recharge's status as it is. */
export async function addToTimeline(em: EntityManager, id: string, facts: NonNullable<Move['facts']>): Promise<void> {
  const { status } = await get(em, id);
  await em.nativeUpdate(Recharge, { id }, { timeline: appended({ status, ...facts }) } as EntityData<Recharge>);
}

function appended(step: Record<string, string | number | null>) {
  return raw(
    `timeline || jsonb_build_array(jsonb_build_object('at', to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) || ?::jsonb)`,
    [JSON.stringify(step)],
  );
}

/**
 * Which budget the quota write starts from and which it ends at. Both were stored when the amount was decided; where a person
 * has had them forgotten, `live` and `live` plus what is granted are stored now. Every retry gets the same two values.
 *
 * @throws UnexpectedStatusError when the recharge is not `charged` any more.
 */
export async function planQuotaWrite(
  em: EntityManager,
  recharge: Recharge,
  live: QuotaMicros,
): Promise<{ before: QuotaMicros; after: QuotaMicros }> {
  const after = quotaMicros(live + recharge.quotaGranted);
  await em.nativeUpdate(Recharge, { id: recharge.id, status: 'charged', quotaBefore: null }, { quotaBefore: live, quotaAfter: after });
  const planned = await get(em, recharge.id);
  // An attempt that was held up for long may find that another one has settled the recharge meanwhile.
  if (planned.status !== 'charged') throw new UnexpectedStatusError(recharge.id, 'succeeded', planned.status);
  return { before: planned.quotaBefore ?? live, after: planned.quotaAfter ?? after };
}

/** Stripe answers the current idempotency key from a saved 500: the next attempt goes under another one. */
export async function countSpentKey(em: EntityManager, { id, keysSpent }: Recharge): Promise<void> {
  await em.nativeUpdate(Recharge, { id, keysSpent }, { keysSpent: keysSpent + 1 });
}

/** Stores the id of the refund that was asked for, before its outcome is known. */
export async function noteRefund(em: EntityManager, recharge: Recharge, refundId: string): Promise<void> {
  await em.nativeUpdate(Recharge, { id: recharge.id }, { refundId });
}

export type LostRecharge = Pick<
  Recharge,
  | 'id'
  | 'eventId'
  | 'organizationId'
  | 'litellmTeamId'
  | 'amountMinor'
  | 'currency'
  | 'quotaGranted'
  | 'balanceSeen'
  | 'paymentIntentId'
  | 'stripeCustomerId'
> & { quotaBefore: QuotaMicros };

/**
 * Enters a recharge again that the database has lost, in `charging`, as its intent remembers it: its run then finds out
 * what became of it, and since the budgets before and after are known, nothing is granted twice.
 *
 * @returns false while another recharge of the organization is open, or when this one is there.
 */
export async function restore(em: EntityManager, lost: LostRecharge): Promise<boolean> {
  return em.transactional(async (tx) => {
    const rows = await tx.execute(
      `insert into recharge (id, event_id, organization_id, litellm_team_id, source, status, stripe_customer_id, amount_minor, currency,
         quota_granted, balance_seen, quota_before, quota_after, payment_intent_id, timeline)
       values (?, ?, ?, ?, 'webhook', 'charging', ?, ?, ?, ?, ?, ?, ?, ?, jsonb_build_array(jsonb_build_object('at', now(), 'status', 'charging', 'restored', 1)))
       on conflict do nothing returning id`,
      [
        lost.id,
        lost.eventId,
        lost.organizationId,
        lost.litellmTeamId,
        lost.stripeCustomerId,
        lost.amountMinor,
        lost.currency,
        formatQuota(lost.quotaGranted),
        formatQuota(lost.balanceSeen),
        formatQuota(lost.quotaBefore),
        formatQuota(quotaMicros(lost.quotaBefore + lost.quotaGranted)),
        lost.paymentIntentId,
      ],
    );
    return rows.length === 1;
  });
}

export async function get(em: EntityManager, id: string): Promise<Recharge> {
  return em.findOneOrFail(Recharge, id, { refresh: true });
}

export async function find(em: EntityManager, id: string): Promise<Recharge | null> {
  return em.findOne(Recharge, id, { refresh: true });
}

export async function findByEvent(em: EntityManager, eventId: string): Promise<Recharge | null> {
  return em.findOne(Recharge, { eventId }, { refresh: true });
}

export async function findByIntent(em: EntityManager, paymentIntentId: string): Promise<Recharge | null> {
  return em.findOne(Recharge, { paymentIntentId }, { refresh: true });
}

/** Whether this card was refused for good in an earlier recharge of the organization: another attempt only counts against it. */
export async function isCardRefused(em: EntityManager, { organizationId }: Recharge, paymentMethodId: string): Promise<boolean> {
  const declined = await em.find(Recharge, { organizationId, paymentMethodId, status: 'declined' }, { orderBy: { id: 'desc' }, limit: 20 });
  return declined.some(
    ({ failureCode, declineCode, adviceCode }) =>
      classifyDecline({ code: failureCode ?? null, declineCode: declineCode ?? null, adviceCode: adviceCode ?? null }) === 'hard',
  );
}

/** The last recharge of the organization's present team that was granted within `withinMs` and of which nothing has been taken back. */
export async function justGranted(
  em: EntityManager,
  { id, litellmTeamId }: Pick<Organization, 'id' | 'litellmTeamId'>,
  withinMs: number,
): Promise<Recharge | null> {
  const rows = await em.execute<{ id: string }[]>(
    `select id from recharge r
     where organization_id = ? and litellm_team_id = ? and status = 'succeeded' and updated_at > now() - ? * interval '1 millisecond'
       and not exists (select from reversal v where v.recharge_id = r.id)
     order by id desc limit 1`,
    [id, litellmTeamId, withinMs],
  );
  return rows[0] ? get(em, rows[0].id) : null;
}

/** Newest first. */
export async function list(
  em: EntityManager,
  filter: Partial<Pick<Recharge, 'organizationId' | 'status'>>,
  { limit, cursor }: PageRequest,
): Promise<Page<Recharge>> {
  const rows = await em.find(
    Recharge,
    { ...filter, ...(cursor && { id: { $lt: cursor } }) },
    { orderBy: { id: 'desc' }, limit: limit + 1 },
  );
  return toPage(rows, limit);
}

/** Up to `limit` recharges changed at or after `since`, in the order of change. */
export async function changedSince(em: EntityManager, since: Date, limit: number): Promise<Recharge[]> {
  return em.find(Recharge, { updatedAt: { $gte: since } }, { orderBy: { updatedAt: 'asc' }, limit });
}
