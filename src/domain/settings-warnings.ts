/** Settings that are valid and likely not what is meant. */
import type { RechargePolicy } from './policy.ts';

/**
 * Each says what is wrong and then, behind a colon, what to change. What a call reserves is not known: it is the call's input and its
 * `max_tokens`, or the model's longest answer, and LiteLLM shows neither. So only a minimum of zero is
 * certain to be too low.
 */
export function warningsOf(
  { minimumBalance }: Pick<RechargePolicy, 'minimumBalance'>,
  { isTimeZoneUnknown = false }: { isTimeZoneUnknown?: boolean } = {},
): string[] {
  const warnings: string[] = [];
  if (minimumBalance <= 0) {
    warnings.push(
      'minimum_balance is 0, and LiteLLM refuses a call that reserves more than is left while there is still something left: set it to more than one call can cost',
    );
  }
  if (isTimeZoneUnknown) {
    warnings.push('time_zone is not known to PostgreSQL any more, so days and months are those of UTC: set it to a zone that is');
  }
  return warnings;
}

/** What to do about a time zone that PostgreSQL does not know. */
export function timeZoneAdvice(organizationId: string): string {
  return `bill org set ${organizationId} --time-zone <IANA name>`;
}
