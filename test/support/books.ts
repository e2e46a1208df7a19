/** How an event ends, and what has become of an organization's money then. */
import type pg from 'pg';
import type Stripe from 'stripe';

/** What an event says when it is closed. */
export type Ending = { outcome: string; success: boolean };

/** The outcome of an event whose charge was granted. */
export const SUCCEEDED = 'succeeded';

export const RECHARGED: Ending = { outcome: SUCCEEDED, success: true };
export const ABOVE_MINIMUM: Ending = { outcome: 'above_minimum', success: true };
export const DECLINED = unsuccessful('declined');
export const REFUNDED = unsuccessful('refunded');
export const CANCELLED = unsuccessful('cancelled');
/** Refused because of a hold. */
export const HELD = unsuccessful('held');
export const NEEDS_ATTENTION = unsuccessful('needs_attention');

/** The event has ended otherwise, for this reason. */
export function unsuccessful(outcome: string): Ending {
  return { outcome, success: false };
}

/**
 * What was charged and what became of it, amounts in minor units. `prepaid` is the ledger's: what is held for
 * an organization, neither granted nor refunded.
 */
export type Books = { charges: number; captured: number; refunded: number; granted: number; prepaid: number };

/** The organization that `World.organization` makes by itself lacks 20.50 of its target. */
export const CHARGED_ONCE: Books = { charges: 1, captured: 2050, refunded: 0, granted: 2050, prepaid: 0 };
/** Its budget before that is granted, in dollars. */
export const BUDGET_BEFORE = 10;
/** And once it is granted. */
export const BUDGET_AFTER = 30.5;
export const CHARGED_AND_REFUNDED: Books = { ...CHARGED_ONCE, refunded: 2050, granted: 0 };
export const UNTOUCHED: Books = { charges: 0, captured: 0, refunded: 0, granted: 0, prepaid: 0 };

/**
 * Everything that has moved, in minor units. `granted` and `prepaid` are what the ledger's accounts hold,
 * `quota` is what `granted` stands for in dollars, `disputed` what disputes have taken.
 */
export type Accounts = { captured: number; refunded: number; disputed: number; granted: number; prepaid: number; quota: number };

type Witnesses = { stripe: Stripe; sql: pg.Pool };
type Payer = { id: string; customerId: string };

/** What really happened, from Stripe and the ledger. */
export async function readBooks({ stripe, sql }: Witnesses, { id, customerId }: Payer): Promise<Books> {
  const charges = (await stripe.charges.list({ customer: customerId, limit: 100 })).data.filter(
    ({ status, captured }) => status === 'succeeded' && captured,
  );
  const { rows } = await sql.query(
    `select coalesce(sum(amount_minor) filter (where credit_account = 'prepaid'), 0)::int
          - coalesce(sum(amount_minor) filter (where debit_account = 'prepaid'), 0)::int as prepaid,
            coalesce(sum(amount_minor) filter (where kind = 'grant'), 0)::int as granted
     from ledger_transfer where organization_id = $1`,
    [id],
  );
  return {
    charges: charges.length,
    captured: charges.reduce((sum, charge) => sum + charge.amount_captured, 0),
    refunded: charges.reduce((sum, charge) => sum + charge.amount_refunded, 0),
    ...rows[0],
  };
}

/** The same with what came after the grant: disputes, and quota that was taken or given back. */
export async function readAccounts(witnesses: Witnesses, payer: Payer): Promise<Accounts> {
  const { stripe, sql } = witnesses;
  const { captured, refunded, prepaid } = await readBooks(witnesses, payer);
  const charges = (await stripe.charges.list({ customer: payer.customerId, limit: 100 })).data.map(({ id }) => id);
  const disputes = (await stripe.disputes.list({ limit: 100 })).data.filter(
    ({ charge, status }) => charges.includes(String(charge)) && status !== 'won',
  );
  const { rows } = await sql.query(
    `select coalesce(sum(sign * amount_minor), 0)::int as granted, coalesce(sum(sign * quota_micros), 0)::float / 1e6 as quota
     from (select *, case 'granted' when credit_account then 1 when debit_account then -1 else 0 end as sign from ledger_transfer) t
     where organization_id = $1`,
    [payer.id],
  );
  return { captured, refunded, prepaid, disputed: disputes.reduce((sum, { amount }) => sum + amount, 0), ...rows[0] };
}
