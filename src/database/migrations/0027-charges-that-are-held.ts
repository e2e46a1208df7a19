import { Migration } from '@mikro-orm/migrations';

/** An index by which the status finds the organizations whose max_charge may hold every charge. Built as those of 0019 are. */
export class ChargesThatAreHeld extends Migration {
  override name = '0027-charges-that-are-held';

  override up(): void {
    this.addSql(`create index if not exists ${SHORT_OF_CHARGE_INDEX}`);
  }
}

/** It goes with the condition in src/database/status.ts, and docs/data.md has the same. */
export const SHORT_OF_CHARGE_INDEX =
  "organization_short_of_charge on organization_balance_config (c_organization_id) where least(max_charge, 99999999) < (target_balance - minimum_balance) / quota_per_unit * case when currency in ('bif', 'clp', 'djf', 'gnf', 'jpy', 'kmf', 'krw', 'mga', 'pyg', 'rwf', 'vnd', 'vuv', 'xaf', 'xof', 'xpf') then 1 when currency in ('bhd', 'jod', 'kwd', 'omr', 'tnd') then 1000 else 100 end + 100";
