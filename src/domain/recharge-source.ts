/**
 * Who asked for a recharge: an alert, the sweep, or a person. Also the values of the `RechargeSource` search
 * attribute.
 */
export const RECHARGE_SOURCES = ['webhook', 'sweep', 'manual'] as const;
export type RechargeSource = (typeof RECHARGE_SOURCES)[number];
