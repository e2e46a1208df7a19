/** The ledger: append-only double entry, chained by hashes for each organization. */
import { createHash } from 'node:crypto';
import { IsolationLevel } from '@mikro-orm/core';
import { ACCOUNTS, type LedgerAccount, type TransferKind } from '../domain/ledger.ts';
import { type Currency, type MinorUnits, minorUnits, parseQuota, type QuotaMicros, quotaMicros } from '../domain/money.ts';
import type { BudgetStep } from '../domain/reversal-budget.ts';
import type { EntityManager } from './database.ts';
import { LedgerTransfer, Organization, type Recharge } from './entities.ts';
import { newId } from './ids.ts';

/** What a transfer moves: all of a recharge unless it belongs to one refund or dispute. */
export type Portion = Pick<LedgerTransfer, 'reference' | 'amountMinor' | 'quotaMicros'>;

/**
 * Enters a transfer and locks the organization until the commit. A unique constraint allows one of each kind
 * and reference for a recharge.
 */
export async function append(
  tx: EntityManager,
  recharge: Recharge,
  { kind, portion = wholeOf(recharge) }: { kind: TransferKind; portion?: Portion | undefined },
): Promise<void> {
  const { debitAccount, creditAccount } = ACCOUNTS[kind];
  await tx.execute(
    `insert into ledger_transfer (id, organization_id, recharge_id, kind, reference, debit_account, credit_account, amount_minor, currency, quota_micros)
     values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    [
      newId('ltr'),
      recharge.organizationId,
      recharge.id,
      kind,
      portion.reference,
      debitAccount,
      creditAccount,
      portion.amountMinor,
      recharge.currency,
      portion.quotaMicros,
    ],
  );
}

function wholeOf({ amountMinor, quotaGranted }: Recharge): Portion {
  return { reference: '', amountMinor, quotaMicros: quotaGranted };
}

/** What is held for a recharge, in minor units: captured, and neither granted nor refunded. */
export async function heldFor(em: EntityManager, rechargeId: string): Promise<number> {
  const [row] = await em.execute<{ held: string }[]>(
    `select coalesce(sum(case when credit_account = 'prepaid' then amount_minor when debit_account = 'prepaid' then -amount_minor else 0 end), 0) as held
     from ledger_transfer where recharge_id = ?`,
    [rechargeId],
  );
  return Number(row?.held ?? 0);
}

/** Where an organization's money of one currency is, in minor units, and the quota that it became. */
export type Balance = {
  currency: Currency;
  /** Captured and not refunded. */
  paid: MinorUnits;
  /** Neither granted nor refunded yet: zero when every recharge is settled. */
  held: MinorUnits;
  granted: MinorUnits;
  quotaGranted: QuotaMicros;
};

/** One balance for each currency that the organization ever paid in. */
export async function balancesOf(em: EntityManager, organizationId: string): Promise<Balance[]> {
  const rows = await em.execute<{ currency: Currency; account: LedgerAccount; amount: string; quota: string }[]>(
    `select currency, account, sum(amount) as amount, sum(quota) as quota from (
       select currency, credit_account as account, amount_minor as amount, quota_micros as quota from ledger_transfer where organization_id = ?
       union all
       select currency, debit_account, -amount_minor, -quota_micros from ledger_transfer where organization_id = ?
     ) entry group by currency, account order by currency`,
    [organizationId, organizationId],
  );
  return [...Map.groupBy(rows, ({ currency }) => currency)].map(([currency, accounts]) => {
    const entryOf = (account: LedgerAccount) => accounts.find((row) => row.account === account);
    const amountOf = (account: LedgerAccount) => Number(entryOf(account)?.amount ?? 0);
    return {
      currency,
      paid: minorUnits(0 - amountOf('stripe')),
      held: minorUnits(amountOf('prepaid')),
      granted: minorUnits(amountOf('granted')),
      quotaGranted: quotaMicros(Number(entryOf('granted')?.quota ?? 0)),
    };
  });
}

/** The transfers of a recharge, oldest first. */
export async function transfersOf(em: EntityManager, rechargeId: string): Promise<LedgerTransfer[]> {
  return em.find(LedgerTransfer, { rechargeId }, { orderBy: { sequence: 'asc' } });
}

/** The recharge, refund or dispute that has moved the organization's quota last; empty where none has. */
export async function lastMover(em: EntityManager, organizationId: string): Promise<string> {
  const [row] = await em.execute<{ mover: string }[]>(
    `select coalesce(nullif(reference, ''), recharge_id) as mover from ledger_transfer
     where organization_id = ? and 'granted' in (debit_account, credit_account) order by sequence desc limit 1`,
    [organizationId],
  );
  return row?.mover ?? '';
}

/**
 * SQL on a reversal `v` whose taking is entered: the budget went as we had planned. Else a person has accepted it, who may have
 * written another one. What is parked after its taking was taken by us.
 */
const TAKEN_AS_PLANNED = `(v.failure_message is null or v.status = 'needs_attention')`;

/**
 * The steps of the team's budget that were entered after `mover` had moved the organization's quota last, oldest first.
 * null when no such move is entered.
 */
export async function stepsSince(
  em: EntityManager,
  { organizationId, teamId }: { organizationId: string; teamId: string },
  mover: string,
): Promise<BudgetStep[] | null> {
  const rows = await em.execute<{ mover: string; before: string | null; after: string | null; is_of_team: boolean }[]>(
    `select coalesce(nullif(t.reference, ''), t.recharge_id) as mover,
       coalesce(v.litellm_team_id, r.litellm_team_id) = ? as is_of_team,
       case when v.id is null then r.quota_before when t.kind = 'grant' then v.given_before when ${TAKEN_AS_PLANNED} then v.taken_before end::text as before,
       case when v.id is null then r.quota_after when t.kind = 'grant' then v.given_after when ${TAKEN_AS_PLANNED} then v.taken_after end::text as after
     from ledger_transfer t join recharge r on r.id = t.recharge_id left join reversal v on v.id = t.reference
     where t.organization_id = ? and 'granted' in (t.debit_account, t.credit_account) order by t.sequence`,
    [teamId, organizationId],
  );
  const last = rows.findLastIndex((row) => row.mover === mover);
  if (last === -1) return null;
  const quotaOf = (text: string | null) => (text === null ? null : parseQuota(text));
  return rows.slice(last + 1).flatMap((row) => (row.is_of_team ? { before: quotaOf(row.before), after: quotaOf(row.after) } : []));
}

/** Those of the recharges whose charge is entered. */
export async function chargedAmong(em: EntityManager, rechargeIds: readonly string[]): Promise<Set<string>> {
  const charges = await em.find(LedgerTransfer, { rechargeId: { $in: [...rechargeIds] }, kind: 'charge' }, { fields: ['rechargeId'] });
  return new Set(charges.map(({ rechargeId }) => rechargeId));
}

export type ChainFault = { organizationId: string; sequence: number; transferId: string | null; fault: string };

/** Transfers read at once while verifying. */
const VERIFY_PAGE = 1_000;

/**
 * Computes every link of every chain again and compares it with the stored one: finds a transfer that was
 * changed, removed, inserted or moved, and a chain that was cut off at its end.
 *
 * @param organizationId only this organization's chain.
 */
export async function verify(em: EntityManager, organizationId?: string): Promise<{ transfers: number; faults: ChainFault[] }> {
  const ids = organizationId
    ? [organizationId]
    : (await em.find(Organization, {}, { fields: ['id'], orderBy: { id: 'asc' } })).map(({ id }) => id);
  let transfers = 0;
  const faults: ChainFault[] = [];
  for (const id of ids) {
    // Both as they were at one moment: a transfer that is entered meanwhile is no fault.
    const chain = await atOneMoment(em, (tx) => verifyOrganization(tx, id));
    transfers += chain.transfers;
    faults.push(...chain.faults);
  }
  return { transfers, faults };
}

/** Transfers of one organization that are read together with those of others; a longer chain is read by itself. */
const NEW_EACH = 50;

/** An organization whose chain has gone on since the last look, or does not end as it says. */
type Look = { id: string; sequence: number; hash: string; markSequence: number; markHash: string };

/**
 * Verifies what was entered since the last look at these organizations, and remembers how far that went: what is
 * behind it is verified by `verify`.
 */
export async function verifyNew(em: EntityManager, organizationIds: readonly string[]): Promise<ChainFault[]> {
  const looks = await atOneMoment(em, async (tx) => {
    const changed = await tx.execute<Look[]>(
      `select c_organization_id as id, ledger_sequence as sequence, ledger_hash as hash, ledger_verified_sequence as "markSequence",
         ledger_verified_hash as "markHash"
       from organization_balance_config o
       where c_organization_id in (select jsonb_array_elements_text(?::jsonb)) and (
         (ledger_verified_sequence, ledger_verified_hash) <> (ledger_sequence, ledger_hash)
         or exists (select from ledger_transfer t where t.organization_id = o.c_organization_id and t.sequence > o.ledger_verified_sequence))`,
      [JSON.stringify(organizationIds)],
    );
    const first = await firstAfterMarks(tx, changed);
    const verified: { look: Look; chain: Verified }[] = [];
    for (const look of changed) {
      const page = first.get(look.id) ?? [];
      const begun = walk(look.id, page, { transfers: 0, last: { sequence: look.markSequence, hash: look.markHash }, faults: [] });
      const chain = page.length < NEW_EACH ? begun : await verifyChain(tx, look.id, begun);
      verified.push({ look, chain: withHead(look.id, look, chain) });
    }
    return verified;
  });
  await moveMarks(
    em,
    looks.filter(({ look, chain }) => chain.faults.length === 0 && chain.last.sequence !== look.markSequence),
  );
  return looks.flatMap(({ chain }) => chain.faults);
}

/** The first NEW_EACH transfers of each organization behind its mark. */
async function firstAfterMarks(tx: EntityManager, looks: readonly Look[]): Promise<Map<string, LedgerTransfer[]>> {
  const rows = await tx.execute<object[]>(
    `select t.* from jsonb_to_recordset(?::jsonb) as mark (id text, sequence integer) cross join lateral (
       select * from ledger_transfer t where t.organization_id = mark.id and t.sequence > mark.sequence order by t.sequence limit ?) t
     order by t.organization_id, t.sequence`,
    [JSON.stringify(looks.map(({ id, markSequence: sequence }) => ({ id, sequence }))), NEW_EACH],
  );
  const transfers = rows.map((row) => tx.map(LedgerTransfer, row as never) as LedgerTransfer);
  return Map.groupBy(transfers, ({ organizationId }) => organizationId);
}

/** Locks the organizations in one order, because runs may be concurrent. */
async function moveMarks(em: EntityManager, verified: readonly { look: Look; chain: Verified }[]): Promise<void> {
  if (verified.length === 0) return;
  await em.execute(
    `with mark as materialized (select * from jsonb_to_recordset(?::jsonb) as m (id text, sequence integer, hash text)),
     locked as materialized (
       select c_organization_id as id from organization_balance_config where c_organization_id in (select id from mark)
       order by c_organization_id for no key update)
     update organization_balance_config o set ledger_verified_sequence = mark.sequence, ledger_verified_hash = mark.hash
     from mark join locked using (id) where o.c_organization_id = mark.id`,
    [JSON.stringify(verified.map(({ look: { id }, chain: { last } }) => ({ id, sequence: last.sequence, hash: last.hash })))],
  );
}

type Link = { sequence: number; hash: string };
type Verified = { transfers: number; last: Link; faults: ChainFault[] };

const BEGINNING: Link = { sequence: 0, hash: '' };

function atOneMoment<T>(em: EntityManager, read: (tx: EntityManager) => Promise<T>): Promise<T> {
  return em.transactional(read, { isolationLevel: IsolationLevel.REPEATABLE_READ });
}

async function verifyOrganization(tx: EntityManager, organizationId: string): Promise<Verified> {
  const [head] = await tx.execute<Link[]>(
    'select ledger_sequence as sequence, ledger_hash as hash from organization_balance_config where c_organization_id = ?',
    [organizationId],
  );
  const chain = await verifyChain(tx, organizationId, { transfers: 0, last: BEGINNING, faults: [] });
  return head ? withHead(organizationId, head, chain) : chain;
}

/** The chain, with the fault that it does not end with what was entered last. */
function withHead(organizationId: string, head: Link, chain: Verified): Verified {
  const { last, faults } = chain;
  if (faults.length > 0 || (last.sequence === head.sequence && last.hash === head.hash)) return chain;
  const fault =
    last.sequence === head.sequence
      ? `transfer ${last.sequence} is not the one that was entered last`
      : `the chain ends at ${last.sequence}, the organization's last transfer was ${head.sequence}`;
  return { ...chain, faults: [{ organizationId, sequence: head.sequence, transferId: null, fault }] };
}

/** Goes on from where the chain was verified to, up to its end. */
async function verifyChain(em: EntityManager, organizationId: string, begun: Verified): Promise<Verified> {
  let chain = begun;
  for (;;) {
    const rest = { organizationId, sequence: { $gt: chain.last.sequence } };
    const page = await em.find(LedgerTransfer, rest, { orderBy: { sequence: 'asc' }, limit: VERIFY_PAGE });
    chain = walk(organizationId, page, chain);
    if (page.length < VERIFY_PAGE) return chain;
  }
}

/** The chain with some more of its transfers. */
function walk(organizationId: string, page: readonly LedgerTransfer[], chain: Verified): Verified {
  const faults = [...chain.faults];
  let { last } = chain;
  for (const transfer of page) {
    const fault = faultOf(transfer, last);
    if (fault) faults.push({ organizationId, sequence: transfer.sequence, transferId: transfer.id, fault });
    last = transfer;
  }
  return { transfers: chain.transfers + page.length, last, faults };
}

function faultOf(transfer: LedgerTransfer, last: Link): string | undefined {
  if (transfer.sequence !== last.sequence + 1) return `transfer ${last.sequence + 1} is missing before it`;
  if (transfer.previousHash !== last.hash) return 'it does not follow from the transfer before it';
  if (transfer.hash !== digest(transfer)) return 'it has been changed';
  return undefined;
}

/**
 * The digest that the database's `ledger_transfer_digest` computes, from the same fields in the same order.
 */
function digest(t: LedgerTransfer): string {
  const fields = [
    t.previousHash,
    t.sequence,
    t.id,
    t.organizationId,
    t.rechargeId,
    t.kind,
    t.reference,
    t.debitAccount,
    t.creditAccount,
    t.amountMinor,
    t.currency,
    t.quotaMicros,
    t.createdAt.getTime(),
  ];
  return createHash('sha256').update(fields.join('|')).digest('hex');
}
