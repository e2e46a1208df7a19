import type { EntityManager } from '../../src/database/database.ts';
import * as recharges from '../../src/database/recharges.ts';
import * as reversals from '../../src/database/reversals.ts';
import { type Finding, findingOf } from '../../src/domain/finding.ts';
import { isFollowed, type ReturnedMoney } from '../../src/domain/reversal.ts';
import type { ActivityDependencies } from '../dependencies.ts';

/**
 * Refunds fail, and disputes end, within four months of their making. What is older was compared thousands of
 * times.
 */
export const RETURNED_LOOK_BACK_MS = 120 * 24 * 60 * 60 * 1000;

/**
 * Looks at refunds and disputes by their own age, because they come long after the charge: a refund may fail
 * after a month, and a customer may dispute for four. With `fix`, a run is started that follows what nobody
 * has followed, and a hold says that its dispute was lost, which moves no money any more.
 */
export async function followReturnedMoney(
  { em, payments, workflows }: { em: EntityManager } & Pick<ActivityDependencies, 'payments' | 'workflows'>,
  fix: boolean,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  for await (const { intentId, money } of payments.returnedSince(new Date(Date.now() - RETURNED_LOOK_BACK_MS))) {
    const recharge = await recharges.findByIntent(em, intentId);
    if (!recharge) continue;
    if (fix) await reversals.noteLost(em, recharge, [money]);
    if (isFollowed(recharge, money, await reversals.known(em, recharge))) continue;
    if (fix) await workflows.followReversals(recharge, [money]);
    const { id: rechargeId, organizationId } = recharge;
    findings.push(findingOf('money_returned', { subject: money.id, organizationId, seen: describe(money), settled: fix, rechargeId }));
  }
  return findings;
}

function describe({ id, kind, isGone }: ReturnedMoney): string {
  return `the money of ${kind} ${id} ${isGone ? 'has gone back to the customer' : 'is ours again'}`;
}
