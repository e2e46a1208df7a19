import { Migration } from '@mikro-orm/migrations';

/**
 * What one organization's row can hold, and no statement or program can compute with, fails the work on all.
 * - `at time zone` fails for a zone that PostgreSQL no longer knows, since an update of its zone data or on
 *   another server. `known_time_zone` says UTC instead.
 * - The columns of quota hold more than the micro-dollars that are exact in a double (domain/money), and a row
 *   above that cannot be read. Rows that are there are not checked: the API never took more.
 */
export class OneRowAlone extends Migration {
  override name = '0018-one-row-alone';

  override up(): void {
    this.addSql(`
      create function known_time_zone(zone text) returns text language plpgsql stable as $$
      begin
        perform now() at time zone zone;
        return zone;
      exception when invalid_parameter_value then
        return 'UTC';
      end $$`);
    this.addSql(`
      alter table organization_balance_config add constraint organization_quota_is_exact check (
        greatest(minimum_balance, target_balance, quota_per_unit) <= 9007199254.740991) not valid`);
  }
}
