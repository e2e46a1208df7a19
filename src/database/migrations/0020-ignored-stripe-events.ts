import { Migration } from '@mikro-orm/migrations';

/** Events of Stripe that do not hold what they are about are answered and counted: `bill doctor` tells of them. */
export class IgnoredStripeEvents extends Migration {
  override name = '0020-ignored-stripe-events';

  override up(): void {
    this.addSql('alter table stripe_event add column is_ignored boolean not null default false');
    this.addSql('create index stripe_event_ignored on stripe_event (received_at) where is_ignored');
  }
}
