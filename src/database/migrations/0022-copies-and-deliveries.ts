import { Migration } from '@mikro-orm/migrations';

/**
 * A copy of an open crossing is counted on the event that it repeats, and gets no row of its own.
 *
 * Its delivery id is still a permanent idempotency key. All delivery ids are in one narrow table with one unique
 * index, those of events too: were the ids of copies apart from those of events, the same delivery could be counted
 * as a copy by one process and be stored as an event by another. The ids of events from before this migration, and of
 * the version before it, are in `webhook_event` alone, under the unique index that stays for them.
 *
 * No foreign key: retention removes the event, and the delivery id stays. The one of `duplicate_of` goes, because no
 * copy is stored any more, and each event would go on paying for it.
 *
 * `webhook_event_open` says that its organization is known: as it was, a plan that was made while the table was empty
 * could look for the open event of a crossing in it, by reading all of it.
 */
export class CopiesAndDeliveries extends Migration {
  override name = '0022-copies-and-deliveries';

  override up(): void {
    this.addSql(`
      alter table webhook_event
        add column copies integer not null default 0,
        add column last_copy_at timestamptz,
        add column highest_spend numeric`);
    this.addSql('alter table webhook_event drop constraint webhook_event_duplicate_of_fkey');
    this.addSql('drop index webhook_event_open');
    this.addSql('create index webhook_event_open on webhook_event (organization_id) where not processed and organization_id is not null');
    this.addSql('create table webhook_delivery (delivery_id text primary key, event_id text not null, body_sha256 text not null)');
  }
}
