/**
 * Recharges, and with them the ledger: a recharge's status and the transfer that the status stands for change
 * together.
 */
import { type EntityData, raw, UniqueConstraintViolationException } from '@mikro-orm/core';
import type { TransferKind } from '../domain/ledger.ts';
import { formatQuota, type MinorUnits, type QuotaMicros, quotaFor, quotaMicros } from '../domain/money.ts';
import { isOpen, LATE_MOVES, OPEN_STATUSES, type RechargeStatus, statusesBefore } from '../domain/recharge-status.ts';
import * as budgets from './budgets.ts';
import { statementTime } from './clock.ts';
import type { EntityManager } from './database.ts';
import { type Organization, Recharge, type TimelineStep } from './entities.ts';
import { isId } from './ids.ts';
import * as ledger from './ledger.ts';
import { type Page, type PageRequest, pageById } from './page.ts';
import { tellStatus } from './recharge-events.ts';
import * as refusals from './refusals.ts';
import { sqlList } from './sql.ts';
import { inTransaction } from './transaction.ts';

/** The recharge is in a status from which the move does not start: another writer has moved it. */
export class UnexpectedStatusError extends Error {
  override name = 'UnexpectedStatusError';
  constructor(id: string, to: RechargeStatus, actual: RechargeStatus) {
    super(`recharge ${id} is ${actual} and cannot become ${to}`);
  }
}

export type Changes = Partial<
  Pick<
    Recharge,
    | 'paymentMethodId'
    | 'cardFingerprint'
    | 'cardExpiry'
    | 'paymentIntentId'
    | 'refundId'
    | 'failureCode'
    | 'declineCode'
    | 'adviceCode'
    | 'failureMessage'
    | 'writeUntil'
  >
>;

export type Move = {
  to: RechargeStatus;
  changes?: Changes;
  /** What an operator wants to know about this step, for the timeline. */
  facts?: Omit<TimelineStep, 'at' | 'status'>;
  /** The ledger transfer that this move stands for. */
  transfer?: TransferKind;
  /** One transfer for each; a single one of all of the recharge unless said. */
  portions?: readonly ledger.Portion[];
  /**
   * What Stripe has captured, in the recharge's currency, where the move enters it. From then on the recharge is
   * of this amount, and of the quota in proportion: nobody decides on what was once asked for.
   */
  captured?: MinorUnits | undefined;
  /** The statuses that the move may start from; those of the ordinary moves unless said. */
  from?: readonly RechargeStatus[];
};

/**
 * Moves a recharge forward, all or nothing: its status, its timeline, the ledger transfer and the outbound
 * event. A recharge that is settled by it advances the organization's version, and the claim on the budget is
 * released when no write of it is to come or may be under way. Idempotent: a recharge that is in `to` already
 * stays as it is.
 *
 * @throws UnexpectedStatusError from any other status that the move does not start from.
 */
export async function move(
  em: EntityManager,
  recharge: Recharge,
  { to, changes = {}, facts = {}, transfer, portions, captured, from = statusesBefore(to) }: Move,
): Promise<Recharge> {
  return inTransaction(em, async (tx) => {
    // Also the organization's lock, which `reservations.reserve` takes first too: so no two wait for each other.
    await tx.execute('update organization_balance_config set version = version + ? where c_organization_id = ?', [
      isOpen(to) ? 0 : 1,
      recharge.organizationId,
    ]);
    const moved = await tx.nativeUpdate(Recharge, { id: recharge.id, status: { $in: [...from] } }, {
      ...changes,
      ...(captured && { amountMinor: captured, quotaGranted: quotaFor(captured, recharge) }),
      status: to,
      updatedAt: statementTime(),
      timeline: timelineWith({ status: to, ...facts }),
    } as EntityData<Recharge>);
    const current = await get(tx, recharge.id);
    if (moved === 0 && current.status !== to) throw new UnexpectedStatusError(recharge.id, to, current.status);
    if (moved === 1 && transfer) {
      for (const portion of portions ?? [undefined]) await ledger.append(tx, current, { kind: transfer, portion });
    }
    if (moved === 1) await tellStatus(tx, current);
    if (moved === 1 && to === 'succeeded') await refusals.forget(tx, recharge.organizationId);
    const mayWrite = to === 'charged' || (to === 'refunding' && current.writeUntil);
    if (!mayWrite) await budgets.release(tx, recharge.organizationId, recharge.id);
    return current;
  });
}

type Reopening = { code: string; reason: string; intentId?: string } & Pick<Move, 'transfer' | 'portions' | 'captured'>;

/**
 * Moves a settled recharge to `needs_attention`, with money that Stripe turned out to hold for it. False
 * while another recharge of the organization is open: one at a time.
 *
 * @param intentId what has captured the money, where the stored intent may be another one, or none.
 */
export async function reopen(em: EntityManager, recharge: Recharge, { code, reason, intentId, ...money }: Reopening): Promise<boolean> {
  const changes = { failureCode: code, failureMessage: reason, ...(intentId && { paymentIntentId: intentId }) };
  const from = LATE_MOVES.reopen.from;
  try {
    await move(em, recharge, { to: 'needs_attention', from, changes, facts: { reason }, ...money });
    return true;
  } catch (error) {
    if (error instanceof UniqueConstraintViolationException) return false;
    throw error;
  }
}

/** Adds to the timeline an event that leaves the recharge's status as it is. */
export async function addToTimeline(em: EntityManager, id: string, facts: NonNullable<Move['facts']>): Promise<void> {
  const { status } = await get(em, id);
  await em.nativeUpdate(Recharge, { id }, { timeline: timelineWith({ status, ...facts }) } as EntityData<Recharge>);
}

/** A part of the payment that had gone back is ours again: the recharge is of it too. */
export async function addPart(
  tx: EntityManager,
  { id }: Pick<Recharge, 'id'>,
  { amountMinor, quota }: { amountMinor: MinorUnits; quota: QuotaMicros },
): Promise<void> {
  await tx.execute('update recharge set amount_minor = amount_minor + ?, quota_granted = quota_granted + ? where id = ?', [
    amountMinor,
    formatQuota(quota),
    id,
  ]);
}

type NewStep = Omit<TimelineStep, 'at'>;

/**
 * SQL for a timeline of one step, its facts a parameter. The steps of one transaction are in the order of its
 * statements; see clock.ts.
 */
const ONE_STEP = `jsonb_build_array(jsonb_build_object('at', to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) || ?::jsonb)`;

/** The timeline of a recharge that begins. */
export function timelineOf(first: NewStep) {
  return raw(ONE_STEP, [JSON.stringify(first)]);
}

function timelineWith(next: NewStep) {
  return raw(`timeline || ${ONE_STEP}`, [JSON.stringify(next)]);
}

/** Stripe replays a saved 500 for the current idempotency key: the next attempt uses another one. */
export async function countSpentKey(em: EntityManager, { id, keysSpent }: Recharge): Promise<void> {
  await em.nativeUpdate(Recharge, { id, keysSpent }, { keysSpent: keysSpent + 1 });
}

/** Stores the id of a refund that was requested, before its outcome is known. */
export async function noteRefund(em: EntityManager, recharge: Recharge, refundId: string): Promise<void> {
  await em.nativeUpdate(Recharge, { id: recharge.id }, { refundId });
}

export type LostRecharge = Pick<
  Recharge,
  'id' | 'eventId' | 'organizationId' | 'litellmTeamId' | 'amountMinor' | 'currency' | 'quotaGranted' | 'balanceSeen' | 'stripeCustomerId'
> & {
  paymentIntentId: string;
  quotaBefore: QuotaMicros;
  /** A refund that we had asked for before it was lost. */
  refundId: string | null;
};

/**
 * Stores again a recharge that the database lost, in `charging`, from the metadata of its PaymentIntent, and its
 * event where that is lost too: both or neither, for an event alone would be charged anew. Its run then reads the
 * outcome from Stripe, and since the budgets before and after are stored, nothing is granted twice. An event that
 * has got another recharge since keeps that one, and this one gets an event of its own.
 *
 * @returns the event's id; undefined while another recharge of the organization is open, or when this one is not
 *   lost.
 */
export async function restore(em: EntityManager, lost: LostRecharge): Promise<string | undefined> {
  const isFree = isId('evt', lost.eventId) && !(await findByEvent(em, lost.eventId));
  const eventId = isFree ? lost.eventId : lost.id.replace(/^rch_/, 'evt_');
  const rows = await em.execute(
    `with entered as (
       insert into recharge (id, event_id, organization_id, litellm_team_id, source, status, stripe_customer_id, amount_minor, currency,
         quota_granted, balance_seen, quota_before, quota_after, payment_intent_id, refund_id, timeline)
       values (?, ?, ?, ?, 'webhook', 'charging', ?, ?, ?, ?, ?, ?, ?, ?, ?, ${ONE_STEP})
       on conflict do nothing returning event_id, litellm_team_id, organization_id),
     event as (
       insert into webhook_event (id, source, event_type, team_id, organization_id, payload, body_sha256)
       select event_id, 'webhook', 'restored', litellm_team_id, organization_id, '{}', '' from entered on conflict do nothing)
     select event_id from entered`,
    [
      lost.id,
      eventId,
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
      lost.refundId,
      JSON.stringify({ status: 'charging', restored: 1 } satisfies NewStep),
    ],
  );
  return rows.length === 1 ? eventId : undefined;
}

export async function get(em: EntityManager, id: string): Promise<Recharge> {
  return em.findOneOrFail(Recharge, id);
}

export async function find(em: EntityManager, id: string): Promise<Recharge | null> {
  return em.findOne(Recharge, id);
}

/**
 * The recharge that an id leads to: its own, its event's, its PaymentIntent's or refund's, that of a refund or dispute
 * of its payment, of a hold that one of these has opened, of Stripe's event about it, or the id of one of its workflows.
 * null: it leads to none.
 */
export async function findByAnyId(em: EntityManager, anyId: string): Promise<Recharge | null> {
  const id = anyId.replace(/^(recharge|reversal)\/([^/]*\/)?/, '');
  const [row] = await em.execute<{ id: string }[]>(
    `select id from recharge where id = ? union select id from recharge where event_id = ?
     union select id from recharge where payment_intent_id = ? union select id from recharge where refund_id = ?
     union select recharge_id from reversal where id = ?
     union select r.id from hold h join recharge r on r.id = any (string_to_array(h.opened_by, ' ')) where h.id = ?
     union select v.recharge_id from hold h join reversal v on v.id = any (string_to_array(h.opened_by, ' ')) where h.id = ?
     union select r.id from stripe_event s join recharge r on r.payment_intent_id = s.payment_intent_id where s.id = ? limit 1`,
    Array(8).fill(id),
  );
  return row ? get(em, row.id) : null;
}

/** Those that there are, by id. */
export async function ofIds(em: EntityManager, ids: readonly string[]): Promise<Map<string, Recharge>> {
  return new Map((await em.find(Recharge, { id: { $in: [...ids] } })).map((recharge) => [recharge.id, recharge]));
}

export async function findByEvent(em: EntityManager, eventId: string): Promise<Recharge | null> {
  return em.findOne(Recharge, { eventId });
}

export async function findByIntent(em: EntityManager, paymentIntentId: string): Promise<Recharge | null> {
  return em.findOne(Recharge, { paymentIntentId });
}

/**
 * The last recharge of the organization's present team that was granted in the last `withinMs` and has no
 * reversal.
 */
export async function justGranted(
  em: EntityManager,
  { id, litellmTeamId }: Pick<Organization, 'id' | 'litellmTeamId'>,
  withinMs: number,
): Promise<Recharge | null> {
  const rows = await em.execute<{ id: string }[]>(
    `select id from recharge r
     where organization_id = ? and litellm_team_id = ? and status = 'succeeded' and updated_at > now() - ? * interval '1 millisecond'
       and not exists (select from reversal v where v.recharge_id = r.id)
     order by updated_at desc limit 1`,
    [id, litellmTeamId, withinMs],
  );
  return rows[0] ? get(em, rows[0].id) : null;
}

/** Every step of a run but a bank's processing takes seconds. After this an operator has to look. */
const STUCK_AFTER = '15 minutes';

/**
 * Newest first.
 *
 * @param filter.stuck only the open ones whose intent is older than STUCK_AFTER (without an intent: they
 *   themselves), but for payments that a bank is processing.
 * @throws BadCursorError
 */
export async function list(
  em: EntityManager,
  { stuck = false, ...filter }: Partial<Pick<Recharge, 'organizationId' | 'status'>> & { stuck?: boolean },
  page: PageRequest,
): Promise<Page<Recharge>> {
  const ids = stuck ? { id: { $in: await stuckIds(em) } as never } : {};
  return pageById(em, Recharge, { prefix: 'rch', filter: { ...filter, ...ids }, ...page });
}

/** At most one for each organization. */
async function stuckIds(em: EntityManager): Promise<string[]> {
  const rows = await em.execute<{ id: string }[]>(
    `select id from recharge r where status in (${sqlList(OPEN_STATUSES)}) and status <> 'processing'
       and coalesce((select min((step->>'at')::timestamptz) from jsonb_array_elements(timeline) step where step->>'status' = 'charging'),
         created_at) < now() - interval '${STUCK_AFTER}'`,
  );
  return rows.map(({ id }) => id);
}

/** Up to `limit` recharges changed at or after `since`, in the order of change. */
export async function changedSince(em: EntityManager, since: Date, limit: number): Promise<Recharge[]> {
  return em.find(Recharge, { updatedAt: { $gte: since } }, { orderBy: { updatedAt: 'asc' }, limit });
}
