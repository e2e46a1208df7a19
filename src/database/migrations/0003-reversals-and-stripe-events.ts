import { Migration } from '@mikro-orm/migrations';

/**
 * What Stripe tells us by itself: its events, and the money that they say has gone back to a customer.
 *
 * One event of an object and type waits at a time: another one meanwhile would only say "look again" twice. One that a
 * dispatcher has taken up waits no more, for the look that it causes may be over already.
 */
export class ReversalsAndStripeEvents extends Migration {
  override name = '0003-reversals-and-stripe-events';

  override up(): void {
    this.addSql('alter table organization_balance_config add column budget_writer text');
    this.addSql(`
      create table stripe_event (
        id text primary key,
        type text not null,
        object_id text not null,
        payment_intent_id text,
        received_at timestamptz not null default now(),
        claimed_until timestamptz,
        dispatch_attempts integer not null default 0,
        handled_at timestamptz
      )`);
    this.addSql(`
      create unique index stripe_event_one_waiting on stripe_event (object_id, type) where handled_at is null and claimed_until is null`);
    this.addSql('create index stripe_event_to_handle on stripe_event (received_at) where handled_at is null');
    this.addSql(`
      create table reversal (
        id text primary key,
        kind text not null check (kind in ('refund', 'dispute')),
        recharge_id text not null references recharge,
        organization_id text not null references organization_balance_config,
        litellm_team_id text not null,
        status text not null check (status in ('open', 'taken_back', 'given_back', 'needs_attention')),
        amount_minor bigint not null check (amount_minor > 0),
        currency char(3) not null,
        quota numeric(18,6) not null check (quota >= 0),
        taken_before numeric(18,6),
        taken_after numeric(18,6),
        given_before numeric(18,6),
        given_after numeric(18,6),
        failure_message text,
        created_at timestamptz not null default now(),
        updated_at timestamptz not null default now(),
        check ((taken_before is null) = (taken_after is null)),
        check ((given_before is null) = (given_after is null))
      )`);
    this.addSql('create index reversal_recharge on reversal (recharge_id)');
  }
}
