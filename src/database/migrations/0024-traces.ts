import { Migration } from '@mikro-orm/migrations';

/** The trace that an event came with. A run is started, and its outbound events are delivered, by other processes. */
export class Traces extends Migration {
  override name = '0024-traces';

  override up(): void {
    this.addSql('alter table webhook_event add column traceparent text');
  }
}
