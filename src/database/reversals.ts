/** Reversals: money of a granted recharge that went back to the customer without us, and the quota that follows it. */

import type { TransferKind } from '../domain/ledger.ts';
import { minorUnits, type QuotaMicros, quotaMicros } from '../domain/money.ts';
import { QUOTA_DUE_STATUSES } from '../domain/recharge-status.ts';
import { now, statementTime } from './clock.ts';
import type { EntityManager } from './database.ts';
import { LedgerTransfer, Organization, type Recharge, Reversal, type ReversalKind } from './entities.ts';
import * as ledger from './ledger.ts';
import { releaseBudget } from './organizations.ts';
import { type Page, type PageRequest, pageByCreation } from './page.ts';
import * as recharges from './recharges.ts';
import { sqlList } from './sql.ts';

/** The reversal is not in the status that the wanted write starts from: another attempt has made it meanwhile. */
export class ReversalSettledError extends Error {
  override name = 'ReversalSettledError';
}

export type MoneyGone = { id: string; kind: ReversalKind; amountMinor: Reversal['amountMinor'] };

/**
 * Notes that money of a recharge has gone, once, and suspends the organization: whoever disputes a charge or was refunded
 * by hand is not charged again before a person has looked.
 *
 * @param rest what of the recharge is granted and not taken back for another reversal; the reversal takes no more than that.
 *   Where there is none, money has gone for which no quota is left to follow it, and a person decides. Should the recharge be
 *   granted after that, which a person can do when our own refund has failed, the reversal begins anew and takes that quota.
 */
export async function open(
  em: EntityManager,
  recharge: Recharge,
  { id, kind, amountMinor }: MoneyGone,
  rest: Reversal['amountMinor'],
): Promise<Reversal> {
  return em.transactional(async (tx) => {
    const amount = rest > 0 ? Math.min(amountMinor, rest) : amountMinor;
    const rows = await tx.execute(
      `insert into reversal (id, kind, recharge_id, organization_id, litellm_team_id, status, amount_minor, currency, quota, failure_message)
       values (?, ?, ?, ?, ?, ?, ?, ?, ?::numeric / 1000000, ?)
       on conflict (id) do update set status = excluded.status, amount_minor = excluded.amount_minor, quota = excluded.quota,
         failure_message = null, updated_at = now() where reversal.quota = 0 and excluded.quota > 0
       returning id`,
      [
        id,
        kind,
        recharge.id,
        recharge.organizationId,
        recharge.litellmTeamId,
        rest > 0 ? 'open' : 'needs_attention',
        amount,
        recharge.currency,
        rest > 0 ? portionOfQuota(recharge, amount) : 0,
        rest > 0 ? null : `${kind} ${id} takes money for which no quota is left to take back: settle it at Stripe, then accept it`,
      ],
    );
    if (rows.length === 1) {
      await tx.nativeUpdate(
        Organization,
        { id: recharge.organizationId, suspendedAt: null },
        { suspendedAt: now(), suspendedReason: `${kind} ${id} of recharge ${recharge.id}` },
      );
    }
    return tx.findOneOrFail(Reversal, id);
  });
}

/** What of a recharge is granted, in minor units, less what goes with the reversals that stand. */
export function restOf(recharge: Recharge, standing: readonly Reversal[]): Reversal['amountMinor'] {
  if (recharge.status !== 'succeeded') return minorUnits(0);
  const withQuota = standing.filter(({ quota }) => quota > 0);
  return minorUnits(recharge.amountMinor - withQuota.reduce((sum, { amountMinor }) => sum + amountMinor, 0));
}

/** Rounded down, so that the parts of a recharge never add up to more than its whole. */
function portionOfQuota({ quotaGranted, amountMinor: whole }: Recharge, amountMinor: number): QuotaMicros {
  return quotaMicros(Number((BigInt(quotaGranted) * BigInt(amountMinor)) / BigInt(whole)));
}

/**
 * Settles the budget before and after the write that takes quota back or gives it back; the first to ask decides.
 *
 * @throws ReversalSettledError when there is nothing to write any more, as an attempt finds that was held up for long.
 */
export async function planWrite(
  em: EntityManager,
  { id, quota }: Reversal,
  direction: 'take' | 'give',
  live: QuotaMicros,
): Promise<{ before: QuotaMicros; after: QuotaMicros }> {
  // LiteLLM refuses a negative budget; a team whose budget is nothing is refused all the same.
  const after = quotaMicros(direction === 'take' ? Math.max(0, live - quota) : live + quota);
  const [status, beforeField, afterField] =
    direction === 'take' ? (['open', 'takenBefore', 'takenAfter'] as const) : (['taken_back', 'givenBefore', 'givenAfter'] as const);
  await em.nativeUpdate(Reversal, { id, status, [beforeField]: null }, { [beforeField]: live, [afterField]: after });
  const planned = await get(em, id);
  if (planned.status !== status) throw new ReversalSettledError(`reversal ${id} is ${planned.status}: nothing is to be written`);
  return { before: planned[beforeField] ?? live, after: planned[afterField] ?? after };
}

/** The quota has been taken back, or never needs to be: granted → prepaid → stripe. Harmless when that is recorded. */
export async function takenBack(em: EntityManager, reversal: Reversal): Promise<void> {
  await settle(em, reversal, 'open', 'taken_back', takingBack(reversal));
}

type Transfers = TransferKind[];

function takingBack({ kind }: Reversal): Transfers {
  return ['reversal', kind === 'dispute' ? 'chargeback' : 'refund'];
}

const GIVING_BACK: Transfers = ['recovery', 'grant'];

/** The money has come again and the quota been given back: stripe → prepaid → granted. Harmless when that is recorded. */
export async function givenBack(em: EntityManager, reversal: Reversal): Promise<void> {
  await settle(em, reversal, 'taken_back', 'given_back', GIVING_BACK);
}

/**
 * A person says that the budget is right now: the ledger follows the money, and who and why stay in the recharge's timeline.
 * False when the reversal needs no attention.
 *
 * @param isGone whether the customer has the money at this moment; it may have come again since the reversal was parked.
 */
export async function accept(
  em: EntityManager,
  reversal: Reversal,
  { by, reason, isGone }: { by: string; reason: string; isGone: boolean },
): Promise<boolean> {
  const isBooked = (await em.count(LedgerTransfer, { rechargeId: reversal.rechargeId, kind: 'reversal', reference: reversal.id })) > 0;
  // Without quota in it, no account of ours has ever held what has gone.
  const transfers = reversal.quota === 0 || isBooked === isGone ? [] : isGone ? takingBack(reversal) : GIVING_BACK;
  return em.transactional(async (tx) => {
    const isSettled = await settle(tx, reversal, 'needs_attention', isGone ? 'taken_back' : 'given_back', transfers);
    if (isSettled) await recharges.addToTimeline(tx, reversal.rechargeId, { reversal: reversal.id, resolution: 'accept', by, reason });
    return isSettled;
  });
}

/** The money came again before anything was taken back. */
export async function neverMind(em: EntityManager, reversal: Reversal): Promise<void> {
  await settle(em, reversal, 'open', 'given_back', []);
}

/** A person decides, unless another attempt has moved the reversal on since it was read. */
export async function park(em: EntityManager, { id, organizationId, status }: Reversal, failureMessage: string): Promise<void> {
  await em.transactional(async (tx) => {
    await tx.nativeUpdate(Reversal, { id, status }, { status: 'needs_attention', failureMessage, updatedAt: statementTime() });
    await releaseBudget(tx, organizationId, id);
  });
}

/** False when the reversal is not in `from` any more. */
async function settle(
  em: EntityManager,
  reversal: Reversal,
  from: Reversal['status'],
  to: Reversal['status'],
  transfers: Transfers,
): Promise<boolean> {
  return em.transactional(async (tx) => {
    // The organization first, as everybody does; its balance is another one now.
    await tx.execute('update organization_balance_config set version = version + 1 where c_organization_id = ?', [reversal.organizationId]);
    await releaseBudget(tx, reversal.organizationId, reversal.id);
    if ((await tx.nativeUpdate(Reversal, { id: reversal.id, status: from }, { status: to, updatedAt: statementTime() })) === 0)
      return false;
    const recharge = await recharges.get(tx, reversal.rechargeId);
    const portion = { reference: reversal.id, amountMinor: reversal.amountMinor, quotaMicros: reversal.quota };
    for (const kind of transfers) await ledger.append(tx, recharge, { kind, portion });
    // What a person has settled was written by that person.
    if (from !== 'needs_attention') await shiftPlans(tx, reversal, to);
    return true;
  });
}

/**
 * A recharge that was decided on the budget as it was before goes from the one that is now. It has not been written: while a
 * reversal holds the budget, no recharge does. One that was decided on what the reversal had written already, or of another
 * team that the organization has had, is right as it is.
 */
async function shiftPlans(tx: EntityManager, { id, organizationId, litellmTeamId }: Reversal, to: Reversal['status']): Promise<void> {
  const [before, after] = to === 'taken_back' ? ['taken_before', 'taken_after'] : ['given_before', 'given_after'];
  await tx.execute(
    `update recharge r set quota_before = v.${after}, quota_after = v.${after} + r.quota_granted
     from (select ${before}, ${after} from reversal where id = ?) v
     where r.quota_before = v.${before} and r.organization_id = ? and r.litellm_team_id = ?
       and r.status in (${sqlList(QUOTA_DUE_STATUSES)})`,
    [id, organizationId, litellmTeamId],
  );
}

export async function get(em: EntityManager, id: string): Promise<Reversal> {
  return em.findOneOrFail(Reversal, id);
}

/** The reversals of a recharge, oldest first. */
export async function ofRecharge(em: EntityManager, rechargeId: string): Promise<Reversal[]> {
  return em.find(Reversal, { rechargeId }, { orderBy: { createdAt: 'asc' } });
}

export async function find(em: EntityManager, id: string): Promise<Reversal | null> {
  return em.findOne(Reversal, id);
}

/** The reversals of an organization that a person has to settle. */
export async function parked(em: EntityManager, organizationId: string): Promise<Reversal[]> {
  return em.find(Reversal, { organizationId, status: 'needs_attention' });
}

/** Newest first. @throws BadCursorError */
export async function list(
  em: EntityManager,
  filter: Partial<Pick<Reversal, 'organizationId' | 'status'>>,
  page: PageRequest,
): Promise<Page<Reversal>> {
  return pageByCreation(em, Reversal, { filter, ...page });
}
