/**
 * Reversals: money of a recharge that went back to the customer without us, and the quota that follows it.
 * The rules are in `domain/reversal.ts`; here each of their moves is one transaction, with the ledger
 * transfers that it stands for.
 */
import { type FilterQuery, LockMode } from '@mikro-orm/core';
import { parkedReversal } from '../domain/finding.ts';
import { lostDispute } from '../domain/hold.ts';
import type { TransferKind } from '../domain/ledger.ts';
import { formatMoney, formatQuota, type MinorUnits, minorUnits, moneyText, type QuotaMicros, quotaMicros } from '../domain/money.ts';
import { actionOnReversal } from '../domain/outbound-event.ts';
import { UNDER_WAY_STATUSES } from '../domain/recharge-status.ts';
import type {
  KnownReversal,
  OpenedReversal,
  ReturnedMoney,
  ReversalDecision,
  ReversalKind,
  ReversalMove,
  ReversalStatus,
} from '../domain/reversal.ts';
import { type BudgetDirection, budgetAfter, missingTransfers, type RememberedWrite, takenBy } from '../domain/reversal-budget.ts';
import * as budgets from './budgets.ts';
import { statementTime } from './clock.ts';
import type { EntityManager } from './database.ts';
import { tellFinding } from './drift-events.ts';
import { LedgerTransfer, Organization, type Recharge, Reversal } from './entities.ts';
import * as holds from './holds.ts';
import * as ledger from './ledger.ts';
import { tell } from './outbound-events.ts';
import { type Page, type PageRequest, pageByCreation } from './page.ts';
import * as recharges from './recharges.ts';
import { sqlList } from './sql.ts';

/** The reversal is not in the status that the write starts from: another attempt has made it. */
export class ReversalSettledError extends Error {
  override name = 'ReversalSettledError';
}

/**
 * Decides under the organization's lock, on the recharge and its reversals as they are then, and enters what
 * is to be opened. Money that has gone holds the organization: whoever disputes a charge or was refunded by
 * hand is not charged again before a person has looked. A part that comes back belongs to the recharge again.
 */
export async function open(
  em: EntityManager,
  { id, organizationId }: Pick<Recharge, 'id' | 'organizationId'>,
  decide: (recharge: Recharge, known: KnownReversal[]) => ReversalDecision,
): Promise<ReversalDecision> {
  return em.transactional(async (tx) => {
    // Always the organization's lock first.
    await tx.findOneOrFail(Organization, organizationId, { lockMode: LockMode.PESSIMISTIC_WRITE });
    const recharge = await recharges.get(tx, id);
    const decision = decide(recharge, await known(tx, recharge));
    for (const opened of decision.open) {
      if (!(await enter(tx, recharge, opened))) continue;
      if (opened.status === 'taken_back') await recharges.addPart(tx, recharge, opened);
      else await hold(tx, recharge, opened);
      await tellOpened(tx, recharge, opened);
    }
    return decision;
  });
}

/** Once; a reversal without quota opens anew when there is some. False when it is there already. */
async function enter(tx: EntityManager, recharge: Recharge, opened: OpenedReversal): Promise<boolean> {
  const { id, kind, status, amountMinor, quota, reason = null } = opened;
  const nothingLeft = `${kind} ${id} takes money for which no quota is left to take back, or Stripe does not say how much: settle it at Stripe, then accept it`;
  const rows = await tx.execute(
    // Stamped under the lock: two that come at once are in the order of their holds.
    `insert into reversal (id, kind, recharge_id, organization_id, litellm_team_id, status, amount_minor, currency, quota, reason, failure_message,
       created_at, updated_at)
     values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, clock_timestamp(), clock_timestamp())
     on conflict (id) do update set status = excluded.status, amount_minor = excluded.amount_minor, quota = excluded.quota,
       failure_message = null, updated_at = now() where reversal.quota = 0 and excluded.quota > 0
     returning id`,
    [
      id,
      kind,
      recharge.id,
      recharge.organizationId,
      recharge.litellmTeamId,
      status,
      amountMinor,
      recharge.currency,
      formatQuota(quota),
      reason,
      status === 'needs_attention' ? nothingLeft : null,
    ],
  );
  return rows.length === 1;
}

async function tellOpened(tx: EntityManager, recharge: Recharge, { id, kind, status, amountMinor, quota }: OpenedReversal): Promise<void> {
  const { organizationId } = recharge;
  const settle = `look at ${kind} ${id} at Stripe`;
  const data = {
    ...factsOf(recharge, { id, kind, amountMinor, quota }),
    detail: `${kind} ${id} of recharge ${recharge.id}: ${OPENED_DETAILS[status]}`,
    action: {
      needs_attention: `${settle}, then ${actionOnReversal(id)}; then ${ENDS_HOLD}`,
      open: `${settle}: the organization is held; ${ENDS_HOLD}`,
      given_back: `${settle}: the organization is held; ${ENDS_HOLD}`,
      taken_back: settle,
    }[status],
  };
  await tell(tx, { type: 'reversal.opened', organizationId, key: `reversal/${id}/opened${withoutQuota(quota)}`, data });
  if (status === 'given_back') await tellClosed(tx, { ...recharge, id, kind, rechargeId: recharge.id, amountMinor, quota }, status);
}

const ENDS_HOLD = 'bill holds shows the hold, and bill release ends it';

const OPENED_DETAILS: Record<OpenedReversal['status'], string> = {
  open: 'the money has gone, and the quota follows',
  taken_back: 'the money has come back, after the rest of the recharge was granted, and the quota follows',
  given_back: 'the money has gone and has come back',
  needs_attention: 'the money has gone, and no quota is left to take back',
};

type ToldReversal = Pick<
  Reversal,
  'id' | 'kind' | 'rechargeId' | 'organizationId' | 'litellmTeamId' | 'amountMinor' | 'currency' | 'quota'
>;

async function tellClosed(tx: EntityManager, reversal: ToldReversal, outcome: 'taken_back' | 'given_back'): Promise<void> {
  const { id, kind, rechargeId, organizationId, quota } = reversal;
  const isBack = outcome === 'given_back';
  const followed = `the quota has followed the money${isBack ? ' back to the organization' : ''}`;
  const detail = `${kind} ${id} of recharge ${rechargeId}: ${quota > 0 ? followed : `the money has ${isBack ? 'come back' : 'gone'}, and no quota was taken for it`}`;
  const data = { ...factsOf({ ...reversal, id: rechargeId }, reversal), detail, outcome };
  await tell(tx, { type: 'reversal.closed', organizationId, key: `reversal/${id}/${outcome}${withoutQuota(quota)}`, data });
}

function factsOf(
  recharge: Pick<Recharge, 'id' | 'litellmTeamId' | 'currency'>,
  { id, kind, amountMinor, quota }: Pick<Reversal, 'id' | 'kind' | 'amountMinor' | 'quota'>,
) {
  return {
    reversal_id: id,
    kind,
    recharge_id: recharge.id,
    litellm_team_id: recharge.litellmTeamId,
    amount: formatMoney(amountMinor, recharge.currency),
    currency: recharge.currency,
    quota: formatQuota(quota),
  };
}

/** In the key: a reversal without quota opens anew when there is some. */
function withoutQuota(quota: QuotaMicros): string {
  return quota === 0 ? '/without_quota' : '';
}

async function hold(tx: EntityManager, recharge: Recharge, { id, kind, amountMinor, reason }: OpenedReversal): Promise<void> {
  const { id: rechargeId, organizationId } = recharge;
  const amount = `${moneyText(amountMinor, recharge.currency)}${reason ? `, ${reason}` : ''}`;
  const opening: holds.NewHold = {
    scope: 'organization',
    subject: organizationId,
    reason: kind === 'dispute' ? 'disputed' : 'operator',
    detail:
      kind === 'dispute'
        ? `dispute ${id} of recharge ${rechargeId}: ${amount}`
        : `refund ${id} of recharge ${rechargeId} was made in Stripe: ${amount}`,
    openedBy: id,
    organizationId,
  };
  const { isNew } = await holds.open(tx, opening);
  // Whoever releases the hold is to see every refund and dispute that it is for, and why it does not end by itself.
  if (!isNew) await holds.addTo(tx, opening);
}

/** A dispute that is lost does not end its hold, and no winning of it is waited for any more. */
export async function noteLost(em: EntityManager, { organizationId }: Pick<Recharge, 'organizationId'>, moneys: readonly ReturnedMoney[]) {
  for (const { id, kind, isGone, isFinal } of moneys) {
    if (kind !== 'dispute' || !isGone || !isFinal) continue;
    const noted = { subject: organizationId, reason: 'disputed', openedBy: id, detail: lostDispute(id) } as const;
    await em.transactional((tx) => holds.note(tx, noted));
  }
}

/** A dispute that is won ends its hold, unless another one has begun since that is not won. */
async function releaseWon(tx: EntityManager, { id, organizationId }: Reversal): Promise<void> {
  const [unwon] = await tx.execute(
    `select from reversal v join hold h on h.organization_id = v.organization_id and h.reason = 'disputed' and h.released_at is null
     where v.organization_id = ? and v.kind = 'dispute' and v.status <> 'given_back' and v.created_at >= h.since limit 1`,
    [organizationId],
  );
  if (unwon) return;
  const disputed = { scope: 'organization', subject: organizationId, reasons: ['disputed'] } as const;
  await holds.releaseOf(tx, disputed, { by: id, reason: 'the dispute is won' });
}

/**
 * Stores the budget before and after the write that takes quota back or gives it back, at the first call;
 * every further call returns the stored two.
 *
 * @param remembered the same write, as it was begun before the database was restored.
 * @throws ReversalSettledError when there is nothing to write any more, as an attempt finds that was held up
 *   for long.
 */
export async function planWrite(
  em: EntityManager,
  reversal: Reversal,
  direction: BudgetDirection,
  { live, remembered }: { live: QuotaMicros; remembered: RememberedWrite | undefined },
): Promise<{ before: QuotaMicros; after: QuotaMicros }> {
  const { id } = reversal;
  const { before, after } = remembered ?? { before: live, after: budgetAfter(reversal, direction, live) };
  const [status, beforeField, afterField] =
    direction === 'take' ? (['open', 'takenBefore', 'takenAfter'] as const) : (['taken_back', 'givenBefore', 'givenAfter'] as const);
  await em.nativeUpdate(Reversal, { id, status, [beforeField]: null }, { [beforeField]: before, [afterField]: after });
  const planned = await get(em, id);
  if (planned.status !== status) throw new ReversalSettledError(`reversal ${id} is ${planned.status}: there is nothing to write`);
  return { before: planned[beforeField] ?? before, after: planned[afterField] ?? after };
}

/** The quota has been taken back, as much as there was: granted → prepaid → stripe. Idempotent. */
export async function recordTakenBack(em: EntityManager, reversal: Reversal): Promise<void> {
  await settle(em, reversal, { from: 'open', to: 'taken_back', transfers: takingOf(reversal.kind) });
}

/** The money has come back and the quota been given back: stripe → prepaid → granted. Idempotent. */
export async function recordGivenBack(em: EntityManager, reversal: Reversal): Promise<void> {
  await settle(em, reversal, { from: 'taken_back', to: 'given_back', transfers: GIVING });
}

/** Nothing was left to take, and the money has come back: the hold ends with it, and nothing is booked. Idempotent. */
export async function dismissEmpty(em: EntityManager, reversal: Reversal): Promise<void> {
  await settle(em, reversal, { from: 'taken_back', to: 'given_back', transfers: [], where: { quota: quotaMicros(0) } });
}

/** The money came back before anything was taken. False when an attempt has planned to take it meanwhile. */
export async function dismiss(em: EntityManager, reversal: Reversal): Promise<boolean> {
  return settle(em, reversal, { from: 'open', to: 'given_back', transfers: [], where: { takenBefore: null } });
}

function takingOf(kind: ReversalKind): TransferKind[] {
  return ['reversal', kind === 'dispute' ? 'chargeback' : 'refund'];
}

const GIVING: TransferKind[] = ['recovery', 'grant'];

/**
 * A person says that the budget is right now: the ledger follows the money, and who and why stay in the
 * recharge's timeline. False when the reversal needs no attention.
 *
 * @param isGone whether the customer has the money at this moment; it may have come back since the reversal
 *   was parked.
 */
export async function accept(
  em: EntityManager,
  reversal: Reversal,
  { by, reason, isGone }: { by: string; reason: string; isGone: boolean },
): Promise<boolean> {
  // The refund of a part of a whole that went back has no `reversal` before it.
  const taking = { rechargeId: reversal.rechargeId, kind: { $in: ['reversal', 'refund'] as TransferKind[] }, reference: reversal.id };
  const isTaken = (await em.count(LedgerTransfer, taking)) > 0;
  const transfers = { taking: takingOf(reversal.kind), giving: GIVING, none: [] }[missingTransfers(reversal, { isTaken, isGone })];
  return em.transactional(async (tx) => {
    const isSettled = await settle(tx, reversal, { from: 'needs_attention', to: isGone ? 'taken_back' : 'given_back', transfers });
    if (!isSettled) return false;
    // A giving back that was planned is not what the person has written, nor what is to be written should the money come again.
    await tx.nativeUpdate(Reversal, { id: reversal.id }, { givenBefore: null, givenAfter: null });
    await recharges.addToTimeline(tx, reversal.rechargeId, { reversal: reversal.id, resolution: 'accept', by, reason });
    return true;
  });
}

/**
 * A person decides, unless another attempt has moved the reversal on since it was read: then the budget is that one's, or
 * that of what has followed.
 */
export async function park(em: EntityManager, { id, organizationId, status }: Reversal, failureMessage: string): Promise<void> {
  await em.transactional(async (tx) => {
    await budgets.lock(tx, organizationId);
    const move = { status: 'needs_attention', failureMessage, updatedAt: statementTime() } as const;
    if ((await tx.nativeUpdate(Reversal, { id, status }, move)) === 0) return;
    await tellFinding(tx, parkedReversal({ id, organizationId, failureMessage }));
    await budgets.release(tx, organizationId, id);
  });
}

/** False when the reversal is not in `from` any more, or not as `where` says. */
async function settle(
  em: EntityManager,
  { id, organizationId, rechargeId }: Reversal,
  { from, to, transfers, where = {} }: ReversalMove & { transfers: readonly TransferKind[]; where?: FilterQuery<Reversal> },
): Promise<boolean> {
  return em.transactional(async (tx) => {
    // Always the organization's lock first. Its version advances: a balance that was read before is stale.
    await tx.execute('update organization_balance_config set version = version + 1 where c_organization_id = ?', [organizationId]);
    const move = { status: to, updatedAt: statementTime() };
    const isMoved = (await tx.nativeUpdate(Reversal, { $and: [{ id, status: from }, where] }, move)) === 1;
    // Else the budget is another attempt's, or that of the giving back that has followed.
    if (!isMoved) return false;
    await budgets.release(tx, organizationId, id);
    // Read again: what was planned, and so what was taken, may be younger than what the caller has read.
    const reversal = await get(tx, id);
    const recharge = await recharges.get(tx, rechargeId);
    const portion = { reference: id, amountMinor: reversal.amountMinor, quotaMicros: takenBy(reversal) };
    for (const kind of transfers) await ledger.append(tx, recharge, { kind, portion });
    if (to === 'given_back' && reversal.kind === 'dispute') await releaseWon(tx, reversal);
    // What a person has settled was written by that person.
    if (from !== 'needs_attention') await shiftPlans(tx, reversal, to);
    if (to === 'taken_back' || to === 'given_back') await tellClosed(tx, reversal, to);
    return true;
  });
}

/**
 * A recharge that was decided on the budget from before the reversal's write starts from the one after it; one that a
 * person refunds meanwhile leaves that one as it is. It has not been written: while a reversal claims the budget, no
 * recharge writes. One that was decided on what the reversal had written already, or on the budget of another team that
 * the organization has had, is right as it is.
 */
async function shiftPlans(tx: EntityManager, { id, organizationId, litellmTeamId }: Reversal, to: ReversalStatus): Promise<void> {
  const [before, after] = to === 'taken_back' ? ['taken_before', 'taken_after'] : ['given_before', 'given_after'];
  await tx.execute(
    `update recharge r set quota_before = v.${after}, quota_after = v.${after} + r.quota_granted
     from (select ${before}, ${after} from reversal where id = ?) v
     where r.quota_before = v.${before} and r.organization_id = ? and r.litellm_team_id = ?
       and r.status in (${sqlList(UNDER_WAY_STATUSES)})`,
    [id, organizationId, litellmTeamId],
  );
}

export async function get(em: EntityManager, id: string): Promise<Reversal> {
  return em.findOneOrFail(Reversal, id);
}

/** The reversals of a recharge, and its parts that were refunded elsewhere, as they are decided on. */
export async function known(em: EntityManager, { id, organizationId }: Pick<Recharge, 'id' | 'organizationId'>): Promise<KnownReversal[]> {
  const { budgetWriter } = await em.findOneOrFail(Organization, organizationId, { fields: ['budgetWriter'] });
  const own = (await ofRecharge(em, id)).map((reversal) => ({ ...reversal, isWriting: reversal.id === budgetWriter }));
  return [...own, ...(await partsOf(em, id))];
}

/**
 * The refunds that went back together as the whole of a recharge: in the ledger, and no reversals. One that has failed
 * since is none any more.
 */
export async function partsOf(em: EntityManager, rechargeId: string): Promise<KnownReversal[]> {
  const rows = await em.execute<{ id: string; amount: string; quota: string }[]>(
    `select reference as id, amount_minor as amount, quota_micros as quota from ledger_transfer t
     where recharge_id = ? and kind = 'refund'
       and not exists (select from reversal v where v.id = t.reference)
       and not exists (select from ledger_transfer back where back.recharge_id = t.recharge_id and back.kind = 'recovery' and back.reference = t.reference)`,
    [rechargeId],
  );
  return rows.map(({ id, amount, quota }) => ({
    id,
    status: 'taken_back',
    amountMinor: minorUnits(Number(amount)),
    quota: quotaMicros(Number(quota)),
    isPart: true,
  }));
}

/** The reversals of a recharge, oldest first. */
export async function ofRecharge(em: EntityManager, rechargeId: string): Promise<Reversal[]> {
  return em.find(Reversal, { rechargeId }, { orderBy: { createdAt: 'asc' } });
}

export async function find(em: EntityManager, id: string): Promise<Reversal | null> {
  return em.findOne(Reversal, id);
}

/** The reversals of these organizations that a person has to settle, by organization. */
export async function parkedOf(em: EntityManager, organizationIds: readonly string[]): Promise<Map<string, Reversal[]>> {
  const rows = await em.find(Reversal, { organizationId: { $in: [...organizationIds] }, status: 'needs_attention' });
  return Map.groupBy(rows, ({ organizationId }) => organizationId);
}

/** Those that were opened or moved since then, at most `limit`, the oldest move first. */
export async function changedSince(em: EntityManager, since: Date, limit: number): Promise<Reversal[]> {
  return em.find(Reversal, { updatedAt: { $gte: since } }, { orderBy: { updatedAt: 'asc' }, limit });
}

/**
 * How much of each recharge the customer has again by refunds and disputes, in minor units, never more than was
 * charged; a recharge without any has no entry. What a person has to settle counts.
 */
export async function returnedOf(em: EntityManager, rechargeIds: readonly string[]): Promise<Map<string, MinorUnits>> {
  if (rechargeIds.length === 0) return new Map();
  const rows = await em.execute<{ id: string; returned: string }[]>(
    `select r.id, least(r.amount_minor, sum(v.amount_minor)) as returned
     from reversal v join recharge r on r.id = v.recharge_id
     where v.recharge_id in (select jsonb_array_elements_text(?::jsonb)) and v.status <> 'given_back' group by r.id`,
    [JSON.stringify(rechargeIds)],
  );
  return new Map(rows.map(({ id, returned }) => [id, minorUnits(Number(returned))]));
}

/** Newest first. @throws BadCursorError */
export async function list(
  em: EntityManager,
  filter: Partial<Pick<Reversal, 'organizationId' | 'status'>>,
  page: PageRequest,
): Promise<Page<Reversal>> {
  return pageByCreation(em, Reversal, { filter, ...page });
}
