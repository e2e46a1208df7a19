/**
 * How long the rows last that nobody needs for ever. What is not in this table is kept: money, and what was
 * decided about it. docs/data.md has every table, with what is in it and why it stays or goes.
 *
 * A row that is not settled never goes, however old it is: an event that is open or whose recharge is, an
 * outbound event that an endpoint has not got, a run that runs.
 */

export type Retention = Readonly<{ days: number; because: string }>;

export const RETENTION = {
  webhook_event: {
    days: 90,
    because: 'no sender repeats a delivery for so long, and the pause of the sweep, a week at most, counts its failures of the last weeks',
  },
  outbound_event: { days: 90, because: 'an event can be sent again for a quarter' },
  stripe_event: { days: 90, because: 'Stripe sends an event again for 30 days at most' },
  balance_sample: { days: 7, because: 'an operator who asks on Monday what happened on Saturday' },
  sync_run: { days: 7, because: 'a difference that stays is found by every run' },
  litellm_team: { days: 90, because: 'a team that LiteLLM has deleted is looked for when it is invoiced' },
} as const satisfies Record<string, Retention>;

export type ExpiringTable = keyof typeof RETENTION;

export const EXPIRING_TABLES = Object.keys(RETENTION) as ExpiringTable[];
