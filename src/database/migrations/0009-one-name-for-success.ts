import { Migration } from '@mikro-orm/migrations';

/**
 * The event of a recharge that succeeded ends as `succeeded`, like the recharge; it was `recharged` before. A
 * process of the version before that still runs keeps writing the old name, so a trigger renames it.
 */
export class OneNameForSuccess extends Migration {
  override name = '0009-one-name-for-success';

  override up(): void {
    this.addSql(`
      create function rename_recharged() returns trigger language plpgsql as $$
      begin
        new.outcome := 'succeeded';
        return new;
      end $$`);
    this.addSql(`
      create trigger webhook_event_rename_recharged before insert or update on webhook_event
        for each row when (new.outcome = 'recharged') execute function rename_recharged()`);
    this.addSql(`update webhook_event set outcome = 'succeeded' where outcome = 'recharged'`);
  }
}
