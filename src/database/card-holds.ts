/** What another card does to the holds on cards: ends them, or stops the organization no more. */
import { type Card, holdSubjectOf } from '../domain/card.ts';
import { endsWithCard, HOLD_REASONS } from '../domain/hold.ts';
import type { EntityManager } from './database.ts';
import * as holds from './holds.ts';
import { sqlList } from './sql.ts';

/** The reasons that another card ends. */
const CARD_REASONS = HOLD_REASONS.filter(endsWithCard);

/**
 * SQL for what a hold on the card of an organization's last recharge is on.
 *
 * @param organization SQL for its id.
 */
function lastCardOf(organization: string): string {
  return `(select ${SUBJECT} from recharge where organization_id = ${organization} and payment_method_id is not null
    order by created_at desc limit 1)`;
}
const SUBJECT = `coalesce(nullif(concat_ws(' ', card_fingerprint, nullif(card_expiry, '')), ''), payment_method_id)`;

/**
 * SQL for the same, where the organization still has the customer of that recharge; else null.
 *
 * @param organization the alias of its row.
 */
function presentCardOf(organization: string): string {
  return `(select subject from (
      select ${SUBJECT} as subject, stripe_customer_id from recharge
      where organization_id = ${organization}.c_organization_id and payment_method_id is not null order by created_at desc limit 1) last
    where last.stripe_customer_id = ${organization}.stripe_customer_id)`;
}

/**
 * Whether the organization may be held because of a card: then the card that it has now decides, and Stripe
 * knows it.
 */
export async function isCardInQuestion(em: EntityManager, organizationId: string): Promise<boolean> {
  const [row] = await em.execute<{ questioned: boolean }[]>(
    `select exists (
       select from hold h where h.released_at is null and h.reason in (${sqlList(CARD_REASONS)})
         and (h.until is null or h.until > now())
         and (h.organization_id = ? or h.scope = 'card' and h.subject = ${lastCardOf('?')})) as questioned`,
    [organizationId, organizationId],
  );
  return row?.questioned ?? false;
}

/**
 * Releases what another card ends, where the organization has another card now: another fingerprint, the same
 * card with another expiry or saved anew. A hold on a card that an organization of another customer was to be charged
 * with last stays for that one, whichever of them has opened it: the last of them ends it. This one is noted as not
 * stopped by it.
 */
export async function releaseForChangedCard(tx: EntityManager, organizationId: string, card: Card): Promise<void> {
  await holds.releaseWhere(
    tx,
    `reason in (${sqlList(CARD_REASONS)}) and card_id is not null
       and (organization_id = ? or scope = 'card' and subject = ${lastCardOf('?')})
       and case when scope = 'card' and subject not in (?, ?) then not exists (
           select from organization_balance_config own join organization_balance_config o on o.stripe_customer_id <> own.stripe_customer_id
           where own.c_organization_id = ? and subject = ${presentCardOf('o')}
             and not exists (select from card_replaced r where r.hold_id = hold.id and r.organization_id = o.c_organization_id))
         else organization_id = ? and card_id <> ? end`,
    [organizationId, organizationId, holdSubjectOf(card), card.id, organizationId, organizationId, card.id],
    { by: 'another card', reason: `payment method ${card.id}, expires ${card.expiry || 'never'}` },
  );
  await noteReplaced(tx, organizationId, card);
}

/** Which of the holds that stay are on another card than the organization's, and which are on the one that it has again. */
async function noteReplaced(tx: EntityManager, organizationId: string, card: Card): Promise<void> {
  await noteCard(tx, organizationId, card);
  // The organization's lock first: the row refers to it, and a reservation notes the same under that lock.
  await tx.execute(
    `with own as materialized (
       select c_organization_id, stripe_customer_id from organization_balance_config where c_organization_id = ? for no key update)
     insert into card_replaced (organization_id, hold_id)
     select own.c_organization_id, h.id from own join hold h on h.released_at is null
       and h.scope = 'card' and h.reason in (${sqlList(CARD_REASONS)}) and h.subject not in (?, ?)
       and (h.subject = ${presentCardOf('own')} or h.organization_id in (
         select c_organization_id from organization_balance_config where stripe_customer_id = own.stripe_customer_id))
     order by h.id on conflict do nothing`,
    [organizationId, holdSubjectOf(card), card.id],
  );
}

/** The organization was to be charged with this card: it is stopped by the holds on it, though it had another one before. */
export async function noteCard(tx: EntityManager, organizationId: string, card: Card): Promise<void> {
  await tx.execute('delete from card_replaced r using hold h where h.id = r.hold_id and r.organization_id = ? and h.subject in (?, ?)', [
    organizationId,
    holdSubjectOf(card),
    card.id,
  ]);
}
