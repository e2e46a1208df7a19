import { Migration } from '@mikro-orm/migrations';

/**
 * A recharge can be parked for a person before it has an intent, and remembers until when a write of the budget
 * that nobody has seen the outcome of may take effect.
 *
 * `not valid`: rows that are there satisfied the stricter check, so none is read while the table is locked.
 */
export class StuckRecharges extends Migration {
  override name = '0013-stuck-recharges';

  override up(): void {
    this.addSql(`
      alter table recharge
        add column write_until timestamptz,
        drop constraint recharge_check1,
        add constraint recharge_has_intent
          check (status in ('reserved', 'declined', 'cancelled', 'needs_attention') or payment_intent_id is not null) not valid`);
  }
}
