/** Settings that are valid and likely not what is meant. */
import type { LimitRefusal } from './limits.ts';
import {
  chargeThatBuys,
  chargeWithin,
  formatQuota,
  MAX_CHARGE_MINOR,
  type MinorUnits,
  moneyText,
  quotaBoughtBy,
  quotaMicros,
} from './money.ts';
import { actionOnRefusal, type ToldRefusal } from './outbound-event.ts';
import { REFUSALS, type RechargePolicy, type Refusal, whyRefused } from './policy.ts';

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
 * The limits that leave nothing to charge, whatever the balance, and those that stop every recharge of a balance at its
 * minimum or below.
 */
export function neverCharged(policy: RechargePolicy): string[] {
  return [...limitsOfNothing(policy), ...limitsOfOneCharge(policy)].map(({ why }) => why);
}

/** `flag`: what changes it, behind `bill org set`. */
export type LimitInTheWay = { why: string; flag: string };

/** A limit that leaves nothing to charge, and the refusal that it makes. */
export type LimitOfNothing = LimitInTheWay & { refusal: LimitRefusal };

type SettingsOfLimits = Pick<RechargePolicy, 'maxDailyRecharges' | 'maxDailyAmount' | 'maxMonthlyAmount' | 'currency'>;

/** The limits that leave nothing to charge. */
export function limitsOfNothing({ maxDailyRecharges, maxDailyAmount, maxMonthlyAmount, currency }: SettingsOfLimits): LimitOfNothing[] {
  const limits: LimitOfNothing[] = [];
  if (maxDailyRecharges === 0) {
    const why = 'max_daily_recharges is 0, so nothing is ever charged: set it to 1 at least';
    limits.push({ why, flag: '--max-daily <n>', refusal: 'daily_limit_reached' });
  }
  const amounts: [string, string, MinorUnits, LimitRefusal][] = [
    ['max_daily_amount', '--max-daily-amount', maxDailyAmount, 'daily_amount_reached'],
    ['max_monthly_amount', '--max-monthly', maxMonthlyAmount, 'monthly_limit_reached'],
  ];
  for (const [name, flag, most, refusal] of amounts) {
    if (chargeWithin(most, currency) !== undefined) continue;
    const why = `${name} is ${moneyText(most, currency)}, less than the least charge, so nothing is ever charged: raise it`;
    limits.push({ why, flag: `${flag} <amount>`, refusal });
  }
  return limits;
}

/**
 * What one charge has to carry for a balance at its minimum, which is what lies between minimum and target at least, and
 * may not.
 */
export function limitsOfOneCharge({ maxCharge, minimumBalance, targetBalance, currency, quotaPerUnit }: RechargePolicy): LimitInTheWay[] {
  const needed = chargeThatBuys(quotaMicros(targetBalance - minimumBalance), currency, quotaPerUnit);
  if (needed === undefined) {
    const why = `target_balance is further above minimum_balance than one charge carries (${moneyText(MAX_CHARGE_MINOR, currency)}), so a balance at its minimum or below is never charged: lower target_balance`;
    return [{ why, flag: '--target <dollars>' }];
  }
  if (needed <= maxCharge) return [];
  const [most, money] = [moneyText(maxCharge, currency), moneyText(needed, currency)];
  const largest = chargeWithin(maxCharge, currency);
  const bought = largest === undefined ? 0 : quotaBoughtBy(largest, currency, quotaPerUnit);
  // A target has to be above the minimum.
  const or = bought > 0 ? `, or lower target_balance to ${formatQuota(quotaMicros(minimumBalance + bought))} at most` : '';
  const why = `max_charge is ${most}, and a balance at its minimum needs ${money}, so each such charge is held until a person releases it: raise max_charge${or}`;
  return [{ why, flag: '--max-charge <amount>' }];
}

/** Why nothing is charged, of an organization with these settings: a limit of nothing is not used up. */
export function whyRefusedUnder(policy: SettingsOfLimits, decision: Parameters<typeof whyRefused>[0]): string {
  return ofNothing(policy, decision.refusal)?.why ?? whyRefused(decision);
}

/** Why nothing is charged, and what settles that: no day and no month ends a limit of nothing. */
export function toldRefusal(policy: SettingsOfLimits, refusal: ToldRefusal, organizationId: string): { detail: string; action: string } {
  const limit = ofNothing(policy, refusal);
  if (!limit) return { detail: REFUSALS[refusal], action: actionOnRefusal(refusal, organizationId) };
  return { detail: limit.why, action: `bill org set ${organizationId} ${limit.flag}` };
}

function ofNothing(policy: SettingsOfLimits, refusal: Refusal): LimitOfNothing | undefined {
  return limitsOfNothing(policy).find((limit) => limit.refusal === refusal);
}

/** What to do about a time zone that PostgreSQL does not know. */
export function timeZoneAdvice(organizationId: string): string {
  return `bill org set ${organizationId} --time-zone <IANA name>`;
}
