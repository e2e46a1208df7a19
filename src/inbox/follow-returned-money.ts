/** Money that goes back without us: whether a run has to follow it. */
import type { Database } from '../database/database.ts';
import * as recharges from '../database/recharges.ts';
import * as reversals from '../database/reversals.ts';
import { isToBeFollowed } from '../domain/reversal.ts';
import type { PaymentsClient } from '../payments/client.ts';
import type { WorkflowStarter } from '../workflow-starter.ts';

export type FollowingDependencies = {
  database: Database;
  payments: Pick<PaymentsClient, 'returnedMoneyOf'>;
  workflows: Pick<WorkflowStarter, 'wakeReversals' | 'followReversals'>;
};

/**
 * Has the money of an intent followed that Stripe shows as gone, where something follows from it. What a recharge has
 * asked for itself is followed by its own run.
 *
 * @throws PaymentsError
 */
export async function followReturnedMoney({ database, payments, workflows }: FollowingDependencies, intentId: string): Promise<void> {
  const moneys = await payments.returnedMoneyOf(intentId);
  // Read after Stripe: what has moved in between has an event of its own.
  const em = database.fork();
  const recharge = await recharges.findByIntent(em, intentId);
  if (!recharge) return;
  if (isToBeFollowed(recharge, moneys, await reversals.known(em, recharge))) await workflows.followReversals(recharge, moneys);
  // One that waits for the end of a dispute ends with it.
  else await workflows.wakeReversals(recharge);
}
