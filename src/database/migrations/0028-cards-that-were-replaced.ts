import { Migration } from '@mikro-orm/migrations';

/** Organizations whose customer has another card by now than the one that a hold is on, which others still pay with. */
export class CardsThatWereReplaced extends Migration {
  override name = '0028-cards-that-were-replaced';

  override up(): void {
    this.addSql(`
      create table card_replaced (
        organization_id text not null references organization_balance_config on delete cascade,
        hold_id text not null references hold on delete cascade,
        at timestamptz not null default now(),
        primary key (organization_id, hold_id))`);
    this.addSql('create index card_replaced_of_hold on card_replaced (hold_id)');
  }
}
