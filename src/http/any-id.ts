/** What an id leads to that a person may hold, from our own output, from Temporal or from Stripe. */
import type { EntityManager } from '../database/database.ts';
import type { Hold, Recharge } from '../database/entities.ts';
import * as holds from '../database/holds.ts';
import * as organizations from '../database/organizations.ts';
import * as recharges from '../database/recharges.ts';
import * as reversals from '../database/reversals.ts';
import { standingOn } from '../database/stopping-holds.ts';
import * as webhookEvents from '../database/webhook-events.ts';
import type { HttpDependencies } from './dependencies.ts';
import { Problem } from './problem.ts';

/** For a sentence that tells which ids there are. */
export const ANY_ID = 'a recharge, event, PaymentIntent, charge, refund, dispute, hold or workflow';

type Needs = { em: EntityManager } & Pick<HttpDependencies, 'payments'>;

/**
 * The holds that an id leads to, at least one and the oldest first: the hold itself, what stops an organization now, what an
 * event was refused by, or what a recharge or a reversal of it has led to.
 *
 * @throws Problem 404 that says why there is none; PaymentsError
 */
export async function holdsByAnyId(needs: Needs, id: string): Promise<Hold[]> {
  const { em } = needs;
  const own = await holds.find(em, id);
  if (own) return [own];
  if (await organizations.find(em, id)) return ofOrganization(em, id);
  const event = await webhookEvents.find(em, id.replace(/^recharge\/([^/]*\/)?/, ''));
  const { organizationId, outcome, processedAt } = event ?? {};
  const refusing = outcome === 'held' && organizationId && processedAt ? await holds.appliedAt(em, organizationId, processedAt) : null;
  if (refusing) return [refusing];
  const recharge = await rechargeByAnyId(needs, id);
  if (recharge) return ofRecharge(em, recharge);
  if (event) throw new Problem('not-found', `no hold has refused event ${event.id}: bill events show ${event.id} says what became of it`);
  throw new Problem('not-found', `there is no hold ${id}: it takes the id of an organization, or of ${ANY_ID}`);
}

async function ofOrganization(em: EntityManager, id: string): Promise<Hold[]> {
  const ids = ((await standingOn(em, [id])).get(id) ?? []).map((hold) => hold.id);
  const found = await holds.ofIds(em, ids);
  if (found.size > 0) return ids.flatMap((each) => found.get(each) ?? []);
  throw new Problem(
    'not-found',
    `no hold stops ${id} now; bill holds ${id} --all lists those that have ended, bill status --org ${id} says what else may`,
  );
}

async function ofRecharge(em: EntityManager, { id, organizationId }: Recharge): Promise<Hold[]> {
  const returned = await reversals.ofRecharge(em, id);
  const opened = await holds.openedBy(em, organizationId, [id, ...returned.map((reversal) => reversal.id)]);
  if (opened.length > 0) return opened;
  throw new Problem(
    'not-found',
    `recharge ${id} has led to no hold of its own; bill holds ${organizationId} lists what stops its organization`,
  );
}

/** Only Stripe knows the intent of a charge. @throws PaymentsError */
export async function rechargeByAnyId({ em, payments }: Needs, id: string): Promise<Recharge | null> {
  const intentId = /^(ch|py)_/.test(id) ? await payments.intentOfCharge(id) : null;
  return recharges.findByAnyId(em, intentId ?? id);
}
