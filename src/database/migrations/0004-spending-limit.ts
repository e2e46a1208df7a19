import { Migration } from '@mikro-orm/migrations';

/** The most that an organization may be charged in a calendar month, in minor units of its currency; null is no limit. */
export class SpendingLimit extends Migration {
  override name = '0004-spending-limit';

  override up(): void {
    this.addSql('alter table organization_balance_config add column max_monthly_amount bigint check (max_monthly_amount >= 0)');
  }
}
