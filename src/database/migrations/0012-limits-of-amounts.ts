import { Migration } from '@mikro-orm/migrations';

/**
 * The most that one charge and one calendar day may cost, in minor units of the organization's currency,
 * beside `max_monthly_amount`. null is the default, which follows the target balance (domain/limits): that of
 * `max_monthly_amount` was no limit before.
 */
export class LimitsOfAmounts extends Migration {
  override name = '0012-limits-of-amounts';

  override up(): void {
    this.addSql(`
      alter table organization_balance_config
        add column max_charge bigint check (max_charge >= 0),
        add column max_daily_amount bigint check (max_daily_amount >= 0)`);
  }
}
