import { Migration } from '@mikro-orm/migrations';

/**
 * What is told, to whom, and what came of it; and what an organization has been told already.
 *
 * An event is stored in the transaction of the move that it tells of. A dispatcher routes it: one delivery
 * for each endpoint that takes its type. So it waits for an endpoint, and for a dispatcher, as long as there
 * is none.
 */
export class OutboundEventsAndRefusals extends Migration {
  override name = '0011-outbound-events-and-refusals';

  override up(): void {
    this.addSql(`
      create table outbound_event (
        id text primary key,
        type text not null,
        organization_id text,
        key text not null unique,
        data jsonb not null,
        created_at timestamptz not null default now(),
        routed_at timestamptz
      )`);
    this.addSql('create index outbound_event_to_route on outbound_event (id) where routed_at is null');
    this.addSql('create index outbound_event_organization on outbound_event (organization_id, id)');
    this.addSql(`
      create table outbound_endpoint (
        id text primary key,
        url text not null,
        secret text,
        types text[],
        failing_since timestamptz,
        disabled_at timestamptz,
        disabled_reason text,
        created_at timestamptz not null default now(),
        check ((disabled_at is null) = (disabled_reason is null))
      )`);
    this.addSql(`
      create table outbound_delivery (
        id text primary key,
        event_id text not null references outbound_event on delete cascade,
        endpoint_id text not null references outbound_endpoint on delete cascade,
        attempts integer not null default 0,
        retry_until timestamptz not null,
        due_at timestamptz not null default now(),
        claimed_until timestamptz,
        delivered_at timestamptz,
        given_up_at timestamptz,
        last_status integer,
        last_error text,
        log jsonb not null default '[]',
        unique (event_id, endpoint_id),
        check (delivered_at is null or given_up_at is null)
      )`);
    this.addSql(`
      create index outbound_delivery_pending on outbound_delivery (endpoint_id, due_at)
        where delivered_at is null and given_up_at is null`);
    this.addSql('create index outbound_delivery_failed on outbound_delivery (event_id) where delivered_at is null and attempts > 0');
    this.addSql(`
      create index outbound_delivery_claimed on outbound_delivery (endpoint_id, claimed_until)
        where delivered_at is null and given_up_at is null and claimed_until is not null`);
    // Without a foreign key: its check would take the organization's lock after the event's, and a reservation
    // takes them the other way round.
    this.addSql(`
      create table refusal (
        organization_id text not null,
        reason text not null,
        since timestamptz not null default now(),
        last_at timestamptz not null default now(),
        times integer not null default 1,
        primary key (organization_id, reason)
      )`);
    this.addSql('alter table organization_balance_config add column low_since timestamptz');
    this.addSql(`
      create index recharge_unsettled on recharge (id)
        where payment_intent_id is not null and status in ('charging', 'charged', 'refunding')`);
  }
}
