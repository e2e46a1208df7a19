import { Migration } from '@mikro-orm/migrations';

/** What an event of Stripe names besides an intent: the charge of a fraud warning, the customer of a card. */
export class EventsOfChargesAndCustomers extends Migration {
  override name = '0015-events-of-charges-and-customers';

  override up(): void {
    this.addSql('alter table stripe_event add column charge_id text, add column customer_id text');
    this.addSql('create index organization_customer on organization_balance_config (stripe_customer_id)');
  }
}
