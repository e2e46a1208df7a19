/**
 * Whether LiteLLM takes a raise is only known after a charge. While nothing has shown it lately, charges of the
 * whole service go one at a time: should LiteLLM refuse, one customer is charged in vain and not all of them.
 */
import { QUOTA_DUE_STATUSES } from '../domain/recharge-status.ts';
import type { EntityManager } from './database.ts';
import { sqlList } from './sql.ts';

/** A raise that LiteLLM took is believed to show for so long that it takes others. */
const PROOF_MS = 15 * 60_000;

/**
 * The one that goes first holds up the others this long at most: a refusal comes within a second or two, and
 * one that is stuck shows nothing.
 */
const TURN_MS = 30_000;

/** Any number that nothing else locks. */
const TURN_LOCK = 0x7261697365;

/** A bank debit in `processing` shows nothing for days. */
const SHOWING_STATUSES = QUOTA_DUE_STATUSES.filter((status) => status !== 'processing');

/**
 * Whether a recharge may be reserved now. Where only one may, locks the turn until the end of the transaction.
 */
export async function isTurn(tx: EntityManager): Promise<boolean> {
  if (await isProven(tx)) return true;
  await tx.execute('select pg_advisory_xact_lock(?)', [TURN_LOCK]);
  if (await isProven(tx)) return true;
  const first = await tx.execute(
    `select from recharge where status in (${sqlList(SHOWING_STATUSES)}) and created_at > now() - ? * interval '1 millisecond' limit 1`,
    [TURN_MS],
  );
  return first.length === 0;
}

async function isProven(tx: EntityManager): Promise<boolean> {
  const granted = await tx.execute(
    `select from recharge where status = 'succeeded' and updated_at > greatest(now() - ? * interval '1 millisecond',
       (select max(since) from hold where scope = 'service' and reason = 'raise_refused')) limit 1`,
    [PROOF_MS],
  );
  return granted.length > 0;
}
