/** Settings that are valid and likely not what is meant. */
import type { RechargePolicy } from './policy.ts';

/**
 * Each says what is wrong and then, behind a colon, what to change. What a call reserves is not known: it is the call's input and its
 * `max_tokens`, or the model's longest answer, and LiteLLM shows neither. So only a minimum of zero is
 * certain to be too low.
 */
export function warningsOf({ minimumBalance }: Pick<RechargePolicy, 'minimumBalance'>): string[] {
  if (minimumBalance > 0) return [];
  return [
    'minimum_balance is 0, and LiteLLM refuses a call that reserves more than is left while there is still something left: set it to more than one call can cost',
  ];
}
