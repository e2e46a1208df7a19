import { Migration } from '@mikro-orm/migrations';

/**
 * The first tables, and the constraints that once-only rests on:
 * - a delivery id is accepted once, for ever;
 * - one event of a crossing is open at a time;
 * - an event has one recharge, an organization one open recharge, a recharge one transfer of each kind;
 * - ledger transfers are never changed or removed.
 */
export class OrganizationsInboxRechargesLedger extends Migration {
  override name = '0001-organizations-inbox-recharges-ledger';

  override up(): void {
    this.addSql(`
      create table organization_balance_config (
        c_organization_id text primary key check (c_organization_id <> ''),
        name text not null,
        stripe_customer_id text not null,
        litellm_team_id text not null unique check (litellm_team_id <> ''),
        currency char(3) not null,
        minimum_balance numeric(18,6) not null check (minimum_balance >= 0),
        target_balance numeric(18,6) not null,
        quota_per_unit numeric(18,6) not null check (quota_per_unit > 0),
        auto_recharge_enabled boolean not null,
        max_daily_recharges integer not null check (max_daily_recharges >= 0),
        time_zone text not null,
        suspended_at timestamptz,
        suspended_reason text,
        version integer not null default 0,
        created_at timestamptz not null default now(),
        updated_at timestamptz not null default now(),
        check (target_balance > minimum_balance)
      )`);

    this.addSql(`
      create table webhook_event (
        id text primary key,
        source text not null check (source in ('webhook', 'sweep', 'manual')),
        event_type text not null,
        team_id text,
        organization_id text,
        payload jsonb not null,
        delivery_id text unique,
        body_sha256 text not null,
        crossing text,
        duplicate_of text references webhook_event,
        processed boolean not null default false,
        success boolean,
        outcome text,
        received_at timestamptz not null default now(),
        claimed_until timestamptz,
        dispatch_attempts integer not null default 0,
        dispatched_at timestamptz,
        processed_at timestamptz,
        check (processed = (outcome is not null) and processed = (success is not null) and processed = (processed_at is not null))
      )`);
    this.addSql('create unique index webhook_event_one_open_per_crossing on webhook_event (crossing) where not processed');
    this.addSql('create index webhook_event_to_dispatch on webhook_event (id) where not processed and dispatched_at is null');
    this.addSql('create index webhook_event_organization on webhook_event (organization_id, id)');
    // Hash: an alert's team id can be longer than a b-tree entry may be.
    this.addSql('create index webhook_event_team on webhook_event using hash (team_id)');

    this.addSql(`
      create table recharge (
        id text primary key,
        event_id text not null unique references webhook_event,
        organization_id text not null references organization_balance_config,
        litellm_team_id text not null,
        source text not null check (source in ('webhook', 'sweep', 'manual')),
        status text not null check (status in ('reserved', 'charging', 'processing', 'charged', 'refunding', 'needs_attention',
          'succeeded', 'refunded', 'declined', 'action_required', 'cancelled')),
        stripe_customer_id text not null,
        amount_minor bigint not null check (amount_minor > 0),
        currency char(3) not null,
        quota_granted numeric(18,6) not null check (quota_granted > 0),
        balance_seen numeric(18,6) not null,
        payment_method_id text,
        payment_intent_id text unique,
        keys_spent integer not null default 0,
        quota_before numeric(18,6),
        quota_after numeric(18,6),
        refund_id text,
        failure_code text,
        decline_code text,
        advice_code text,
        failure_message text,
        timeline jsonb not null,
        created_at timestamptz not null default now(),
        updated_at timestamptz not null default now(),
        check ((quota_before is null) = (quota_after is null)),
        check (status in ('reserved', 'declined', 'cancelled') or payment_intent_id is not null)
      )`);
    this.addSql(`
      create unique index recharge_one_open_per_organization on recharge (organization_id)
        where status in ('reserved', 'charging', 'processing', 'charged', 'refunding', 'needs_attention')`);
    this.addSql('create index recharge_organization_created on recharge (organization_id, created_at)');
    this.addSql('create index recharge_updated on recharge (updated_at)');

    this.addSql(`
      create table ledger_transfer (
        id text primary key,
        organization_id text not null references organization_balance_config,
        recharge_id text not null references recharge,
        kind text not null check (kind in ('charge', 'grant', 'refund')),
        debit_account text not null check (debit_account in ('stripe', 'prepaid', 'granted')),
        credit_account text not null check (credit_account in ('stripe', 'prepaid', 'granted')),
        amount_minor bigint not null check (amount_minor > 0),
        currency char(3) not null,
        quota_micros bigint not null check (quota_micros > 0),
        created_at timestamptz not null default now(),
        unique (recharge_id, kind),
        check (debit_account <> credit_account)
      )`);
    this.addSql('create index ledger_transfer_organization on ledger_transfer (organization_id, id)');
    this.addSql('revoke update, delete, truncate on ledger_transfer from public, current_user');
    this.addSql(`
      create function refuse_ledger_change() returns trigger language plpgsql as $$
      begin
        raise exception 'ledger_transfer is append-only: % refused', tg_op using errcode = 'insufficient_privilege';
      end $$`);
    this.addSql(`
      create trigger ledger_transfer_append_only before update or delete or truncate on ledger_transfer
        for each statement execute function refuse_ledger_change()`);
  }
}
