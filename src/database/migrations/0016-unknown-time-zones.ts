import { Migration } from '@mikro-orm/migrations';

/**
 * `at time zone` fails for a zone that PostgreSQL no longer knows, since an update of its zone data or on
 * another server, and with it the statement for every other organization. This says UTC instead.
 */
export class UnknownTimeZones extends Migration {
  override name = '0016-unknown-time-zones';

  override up(): void {
    this.addSql(`
      create function known_time_zone(zone text) returns text language plpgsql stable as $$
      begin
        perform now() at time zone zone;
        return zone;
      exception when invalid_parameter_value then
        return 'UTC';
      end $$`);
  }
}
