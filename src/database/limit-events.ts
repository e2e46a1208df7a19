/** Tells which share of its limits a reservation of an organization reaches. */
import { type LimitReached, limitsReached } from '../domain/limits.ts';
import { formatMoney, type MinorUnits } from '../domain/money.ts';
import type { RechargeHistory, RechargePolicy } from '../domain/policy.ts';
import type { EntityManager } from './database.ts';
import { tell } from './outbound-events.ts';

const ACTIONS: Record<LimitReached['limit'], string> = {
  max_daily_recharges: '--max-daily <n>, or wait for the next day',
  max_daily_amount: '--max-daily-amount <amount>, or wait for the next day',
  max_monthly_amount: '--max-monthly <amount>, or wait for the next month',
};

/** In the transaction of the reservation; each threshold once for its day or month. */
export async function tellLimits(
  tx: EntityManager,
  organizationId: string,
  { policy, history, amount }: { policy: RechargePolicy; history: RechargeHistory; amount: MinorUnits },
): Promise<void> {
  for (const { limit, percent, used, most, period, key } of limitsReached(policy, history, amount)) {
    const isAmount = limit !== 'max_daily_recharges';
    const shown = (value: number) => (isAmount ? formatMoney(value as MinorUnits, policy.currency) : String(value));
    const data = {
      limit,
      percent,
      used: shown(used),
      allowed: shown(most),
      currency: isAmount ? policy.currency : null,
      period,
      action: `bill org set ${organizationId} ${ACTIONS[limit]}`,
    };
    await tell(tx, { type: 'limit.reached', organizationId, key: `limit/${organizationId}/${key}`, data });
  }
}
