/** The outbound events as schemas: of the whole body that is posted. They describe domain/outbound-event. */
import { z } from 'zod';
import { LIMIT_PERCENTS, OUTBOUND_TYPES, type OutboundData, type OutboundType, OVERDUE_AFTER_MINUTES } from '../domain/outbound-event.ts';
import { RECHARGE_SOURCES } from '../domain/recharge-source.ts';
import { RECHARGE_STATUSES } from '../domain/recharge-status.ts';
import { REVERSAL_KINDS } from '../domain/reversal.ts';

const decimal = z.string().regex(/^-?\d+(\.\d+)?$/);
const currency = z.string().regex(/^[a-z]{3}$/);
const time = z.iso.datetime();
const text = z.string().min(1);

const recharge = {
  recharge_id: text,
  event_id: text,
  litellm_team_id: text,
  source: z.enum(RECHARGE_SOURCES),
  amount: decimal,
  currency,
  quota: decimal,
  payment_intent_id: text.nullable(),
  detail: text,
};
const decline = { failure_code: text.nullable(), decline_code: text.nullable() };
const hold = { hold_id: text, scope: text, subject: text.nullable(), reason: text, detail: text, by: text };
const reversal = {
  reversal_id: text,
  kind: z.enum(REVERSAL_KINDS),
  recharge_id: text,
  litellm_team_id: text,
  amount: decimal,
  currency,
  quota: decimal,
  detail: text,
};
const action = text;

/** The facts of each type, without the organization that every one has. */
const DATA = {
  'recharge.succeeded': z.strictObject({ ...recharge, quota_before: decimal.nullable(), quota_after: decimal.nullable() }),
  'recharge.declined': z.strictObject({ ...recharge, ...decline, action }),
  'recharge.action_required': z.strictObject({ ...recharge, ...decline, action }),
  'recharge.refunded': z.strictObject({ ...recharge, refund_id: text.nullable() }),
  'recharge.needs_attention': z.strictObject({ ...recharge, action }),
  'recharge.overdue': z.strictObject({
    ...recharge,
    status: z.enum(RECHARGE_STATUSES),
    since: time,
    overdue_after: z.enum(Object.keys(OVERDUE_AFTER_MINUTES) as (keyof typeof OVERDUE_AFTER_MINUTES)[]),
    action,
  }),
  'hold.opened': z.strictObject({ ...hold, until: time.nullable(), action }),
  'hold.released': z.strictObject(hold),
  'limit.reached': z.strictObject({
    limit: text,
    percent: z.literal(LIMIT_PERCENTS),
    used: decimal,
    allowed: decimal,
    currency: currency.nullable(),
    period: z.string().regex(/^\d{4}-\d\d(-\d\d)?$/),
    action,
  }),
  'refusal.new': z.strictObject({ reason: text, event_id: text, litellm_team_id: text.nullable(), since: time, detail: text, action }),
  'reversal.opened': z.strictObject({ ...reversal, action }),
  'reversal.closed': z.strictObject({ ...reversal, outcome: z.enum(['taken_back', 'given_back']) }),
  'balance.low': z.strictObject({
    litellm_team_id: text,
    balance: decimal,
    minimum_balance: decimal,
    currency: z.literal('usd'),
    auto_recharge_enabled: z.boolean(),
  }),
  'drift.detected': z.strictObject({ kind: text, subject: text, seen: text, expected: text.nullable(), action }),
} satisfies { [Type in OutboundType]: z.ZodType<Loose<OutboundData[Type]>> };

/** `reason` of a refusal is one of a list that grows; a receiver has to take any text. */
type Loose<Data> = Data extends { reason: string } ? Omit<Data, 'reason'> & { reason: string } : Data;

/** The body of an event of each type. */
export const OUTBOUND_SCHEMAS: ReadonlyMap<OutboundType, z.ZodType> = new Map(
  OUTBOUND_TYPES.map((type) => {
    const data = z.strictObject({ organization_id: text.nullable(), ...DATA[type].shape });
    return [type, z.strictObject({ type: z.literal(type), timestamp: time, data })];
  }),
);
