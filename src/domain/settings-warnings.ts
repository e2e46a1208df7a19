/** Settings that are valid and likely not what is meant. */
import { chargeThatBuys, chargeWithin, MAX_CHARGE_MINOR, type MinorUnits, moneyText, quotaMicros } from './money.ts';
import type { RechargePolicy } from './policy.ts';

/**
 * Each says what is wrong and then, behind a colon, what to change. What a call reserves is not known: it is the call's input and its
 * `max_tokens`, or the model's longest answer, and LiteLLM shows neither. So only a minimum of zero is
 * certain to be too low.
 */
export function warningsOf(policy: RechargePolicy, { isTimeZoneUnknown = false }: { isTimeZoneUnknown?: boolean } = {}): string[] {
  const warnings = neverCharged(policy);
  if (policy.minimumBalance <= 0) {
    warnings.push(
      'minimum_balance is 0, and LiteLLM refuses a call that reserves more than is left while there is still something left: set it to more than one call can cost',
    );
  }
  if (isTimeZoneUnknown) {
    warnings.push('time_zone is not known to PostgreSQL any more, so days and months are those of UTC: set it to a zone that is');
  }
  return warnings;
}

/**
 * The limits that leave nothing to charge, whatever the balance, and a max_charge that holds every recharge of a balance
 * at its minimum or below: it needs what lies between minimum and target at least, which one charge has to carry.
 */
export function neverCharged(policy: RechargePolicy): string[] {
  const { maxCharge, minimumBalance, targetBalance, currency, quotaPerUnit } = policy;
  const limits = limitsOfNothing(policy).map(({ why }) => why);
  const needed = chargeThatBuys(quotaMicros(targetBalance - minimumBalance), currency, quotaPerUnit);
  if (needed === undefined) {
    limits.push(
      `target_balance is further above minimum_balance than one charge carries (${moneyText(MAX_CHARGE_MINOR, currency)}), so a balance at its minimum or below is never charged: lower target_balance`,
    );
  } else if (needed > maxCharge) {
    const [most, money] = [moneyText(maxCharge, currency), moneyText(needed, currency)];
    limits.push(
      `max_charge is ${most}, and a balance at its minimum needs ${money}, so each such charge is held until a person releases it: raise max_charge, or lower target_balance`,
    );
  }
  return limits;
}

/** `flag`: what changes it, behind `bill org set`. */
export type LimitOfNothing = { why: string; flag: string };

/** The limits that leave nothing to charge. */
export function limitsOfNothing({ maxDailyRecharges, maxDailyAmount, maxMonthlyAmount, currency }: RechargePolicy): LimitOfNothing[] {
  const limits: LimitOfNothing[] = [];
  if (maxDailyRecharges === 0)
    limits.push({ why: 'max_daily_recharges is 0, so nothing is ever charged: set it to 1 at least', flag: '--max-daily <n>' });
  const amounts: [string, string, MinorUnits][] = [
    ['max_daily_amount', '--max-daily-amount', maxDailyAmount],
    ['max_monthly_amount', '--max-monthly', maxMonthlyAmount],
  ];
  for (const [name, flag, most] of amounts) {
    if (chargeWithin(most, currency) !== undefined) continue;
    const why = `${name} is ${moneyText(most, currency)}, less than the least charge, so nothing is ever charged: raise it`;
    limits.push({ why, flag: `${flag} <amount>` });
  }
  return limits;
}

/** What to do about a time zone that PostgreSQL does not know. */
export function timeZoneAdvice(organizationId: string): string {
  return `bill org set ${organizationId} --time-zone <IANA name>`;
}
