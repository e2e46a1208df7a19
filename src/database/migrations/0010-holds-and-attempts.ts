import { Migration } from '@mikro-orm/migrations';

/**
 * Holds, and the attempts on cards that lead to some of them.
 *
 * What stopped charges before becomes a hold: a suspended organization, and a card that was declined for good.
 * Of such a card only the payment method's id is known, so the hold's subject is that id.
 *
 * `suspended_at` stays for processes of the version before: one trigger keeps it as the holds are, another one
 * opens or releases a hold when such a process writes it.
 */
export class HoldsAndAttempts extends Migration {
  override name = '0010-holds-and-attempts';

  override up(): void {
    this.addSql(`
      create table hold (
        id text primary key,
        scope text not null check (scope in ('service', 'organization', 'card')),
        subject text not null,
        reason text not null check (reason in ('operator', 'raise_refused', 'declined', 'card_refused', 'three_failures',
          'disputed', 'fraud_warning', 'runaway', 'budget_lowered', 'key_refused')),
        detail text not null,
        opened_by text not null,
        organization_id text references organization_balance_config on delete cascade,
        card_id text,
        amount_minor bigint check (amount_minor > 0),
        quota numeric(18,6),
        since timestamptz not null default now(),
        until timestamptz,
        released_at timestamptz,
        released_by text,
        release_reason text,
        check ((released_at is null) = (released_by is null)),
        check (scope <> 'organization' or organization_id = subject),
        check (scope <> 'card' or subject <> '')
      )`);
    this.addSql('create unique index hold_one_open on hold (scope, subject, reason) where released_at is null');
    this.addSql('create index hold_ending on hold (until) where released_at is null and until is not null');
    this.addSql('create index hold_organization on hold (organization_id, reason, released_at)');

    this.addSql('alter table recharge add column card_fingerprint text, add column card_expiry text');
    this.addSql(`
      create table card_attempt (
        recharge_id text primary key references recharge,
        organization_id text not null references organization_balance_config,
        fingerprint text not null,
        begun_at timestamptz not null default now(),
        ended_at timestamptz,
        outcome text check (outcome in ('succeeded', 'soft', 'hard', 'authentication_required')),
        check ((ended_at is null) = (outcome is null))
      )`);
    this.addSql('create index card_attempt_fingerprint on card_attempt (fingerprint, ended_at)');
    this.addSql('create index card_attempt_organization on card_attempt (organization_id, ended_at)');

    this.addSql(`
      insert into hold (id, scope, subject, reason, detail, opened_by, organization_id, since)
      select 'hld_' || replace(gen_random_uuid()::text, '-', ''), 'organization', c_organization_id,
        case when suspended_reason like 'dispute %' then 'disputed' else 'operator' end,
        coalesce(suspended_reason, 'suspended by an operator'), 'the version before', c_organization_id, suspended_at
      from organization_balance_config where suspended_at is not null`);
    this.addSql(`
      insert into hold (id, scope, subject, reason, detail, opened_by, organization_id, card_id, since)
      select distinct on (payment_method_id) 'hld_' || replace(gen_random_uuid()::text, '-', ''), 'card', payment_method_id, 'card_refused',
        coalesce(failure_message, decline_code, failure_code), id, organization_id, payment_method_id, updated_at
      from recharge r
      where status = 'declined' and payment_method_id is not null
        and (advice_code = 'do_not_try_again' or decline_code in (${HARD}) or failure_code in (${HARD}))
        and not exists (select from recharge s where s.payment_method_id = r.payment_method_id and s.status = 'succeeded' and s.created_at > r.created_at)
      order by payment_method_id, updated_at desc`);

    // From holds to the column, for processes of the version before.
    this.addSql(`
      create function mirror_holds() returns trigger language plpgsql as $$
      begin
        update organization_balance_config o set (suspended_at, suspended_reason) = (
          select min(h.since), min(h.detail) from hold h
          where h.scope = 'organization' and h.subject = o.c_organization_id and h.released_at is null)
        where o.c_organization_id = new.subject;
        return null;
      end $$`);
    this.addSql(`
      create trigger hold_mirror after insert or update of released_at on hold
        for each row when (new.scope = 'organization') execute function mirror_holds()`);
    // From the column to holds, when a process of the version before suspends or resumes.
    this.addSql(`
      create function hold_what_is_suspended() returns trigger language plpgsql as $$
      begin
        if new.suspended_at is not null and old.suspended_at is null then
          insert into hold (id, scope, subject, reason, detail, opened_by, organization_id)
          values ('hld_' || replace(gen_random_uuid()::text, '-', ''), 'organization', new.c_organization_id,
            case when new.suspended_reason like 'dispute %' then 'disputed' else 'operator' end,
            coalesce(new.suspended_reason, 'suspended by an operator'), 'the version before', new.c_organization_id)
          on conflict do nothing;
        elsif new.suspended_at is null and old.suspended_at is not null then
          update hold set released_at = now(), released_by = 'the version before', release_reason = 'resumed'
          where scope = 'organization' and subject = new.c_organization_id and released_at is null;
        end if;
        return null;
      end $$`);
    this.addSql(`
      create trigger organization_suspended after update of suspended_at on organization_balance_config
        for each row when (pg_trigger_depth() = 0) execute function hold_what_is_suspended()`);
  }
}

/** The codes that meant "for good" when this was written. */
const HARD = `'expired_card', 'fraudulent', 'invalid_account', 'lost_card', 'merchant_blacklist', 'pickup_card', 'restricted_card',
  'revocation_of_all_authorizations', 'revocation_of_authorization', 'stolen_card', 'stop_payment_order'`;
