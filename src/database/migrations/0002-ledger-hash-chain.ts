import { Migration } from '@mikro-orm/migrations';

/**
 * Each organization's transfers form a chain: a transfer carries its number and the hash of the one before, and the
 * organization carries the number and hash of the last, so that a changed, removed or reordered transfer shows. The
 * database makes the links itself, whoever inserts. `src/database/ledger.ts` computes the same digest to verify them.
 */
export class LedgerHashChain extends Migration {
  override name = '0002-ledger-hash-chain';

  override up(): void {
    this.addSql(`
      alter table organization_balance_config
        add column ledger_sequence integer not null default 0,
        add column ledger_hash text not null default ''`);
    this.addSql(`
      alter table ledger_transfer
        add column reference text not null default '',
        drop constraint ledger_transfer_recharge_id_kind_key,
        add unique (recharge_id, kind, reference),
        drop constraint ledger_transfer_kind_check,
        add check (kind in ('charge', 'grant', 'refund', 'reversal', 'chargeback', 'recovery')),
        add column sequence integer not null,
        add column previous_hash text not null,
        add column hash text not null,
        add unique (organization_id, sequence)`);
    this.addSql(`
      create function ledger_transfer_digest(t ledger_transfer) returns text language sql immutable as $$
        select encode(sha256(convert_to(concat_ws('|', t.previous_hash, t.sequence, t.id, t.organization_id, t.recharge_id, t.kind, t.reference,
          t.debit_account, t.credit_account, t.amount_minor, t.currency, t.quota_micros,
          floor(extract(epoch from t.created_at) * 1000)::bigint), 'UTF8')), 'hex')
      $$`);
    this.addSql(`
      create function link_ledger_transfer() returns trigger language plpgsql as $$
      begin
        select ledger_sequence + 1, ledger_hash into new.sequence, new.previous_hash
          from organization_balance_config where c_organization_id = new.organization_id for update;
        new.hash := ledger_transfer_digest(new);
        update organization_balance_config set ledger_sequence = new.sequence, ledger_hash = new.hash
          where c_organization_id = new.organization_id;
        return new;
      end $$`);
    this.addSql(`
      create trigger ledger_transfer_link before insert on ledger_transfer for each row execute function link_ledger_transfer()`);
  }
}
