/** What an id leads to that a person may hold, from our own output, from Temporal or from Stripe. */
import type { EntityManager } from '../database/database.ts';
import type { Recharge } from '../database/entities.ts';
import * as recharges from '../database/recharges.ts';
import type { HttpDependencies } from './dependencies.ts';

/** For a sentence that tells which ids there are. */
export const ANY_ID = 'a recharge, event, PaymentIntent, charge, refund, dispute, hold or workflow';

/** Only Stripe knows the intent of a charge. @throws PaymentsError */
export async function rechargeByAnyId(
  { em, payments }: { em: EntityManager } & Pick<HttpDependencies, 'payments'>,
  id: string,
): Promise<Recharge | null> {
  const intentId = /^(ch|py)_/.test(id) ? await payments.intentOfCharge(id) : null;
  return recharges.findByAnyId(em, intentId ?? id);
}
