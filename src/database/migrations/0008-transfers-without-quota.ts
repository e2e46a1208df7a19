import { Migration } from '@mikro-orm/migrations';

/**
 * A refund or dispute whose quota is gone already moves its money and no quota: a person may have lowered the
 * budget to nothing before. What a recharge does itself (its `reference` is empty) always moves quota.
 *
 * `not valid`: rows that are there satisfied the stricter check, so none is read while the table is locked.
 */
export class TransfersWithoutQuota extends Migration {
  override name = '0008-transfers-without-quota';

  override up(): void {
    this.addSql(`
      alter table ledger_transfer
        drop constraint ledger_transfer_quota_micros_check,
        add check (quota_micros > 0 or (quota_micros = 0 and reference <> '')) not valid`);
  }
}
