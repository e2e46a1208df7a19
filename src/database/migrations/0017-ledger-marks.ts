import { Migration } from '@mikro-orm/migrations';

/** How far the chain of an organization's transfers was verified: an hourly look goes on from there. */
export class LedgerMarks extends Migration {
  override name = '0017-ledger-marks';

  override up(): void {
    this.addSql(`
      alter table organization_balance_config
        add column ledger_verified_sequence integer not null default 0,
        add column ledger_verified_hash text not null default ''`);
  }
}
