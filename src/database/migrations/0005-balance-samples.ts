import { Migration } from '@mikro-orm/migrations';

/**
 * What the sweeps have seen of balances, and what they ask of the inbox every minute for every organization: whether an
 * event is open, and how their own last ones ended.
 */
export class BalanceSamples extends Migration {
  override name = '0005-balance-samples';

  override up(): void {
    this.addSql(`
      create table balance_sample (
        id bigint generated always as identity primary key,
        organization_id text not null references organization_balance_config on delete cascade,
        at timestamptz not null,
        quota numeric(18,6),
        spend numeric(18,6) not null
      )`);
    this.addSql('create index balance_sample_organization on balance_sample (organization_id, at)');
    this.addSql('create index balance_sample_age on balance_sample (at)');
    this.addSql('create index webhook_event_open on webhook_event (organization_id) where not processed');
    this.addSql(
      `create index webhook_event_failed_sweep on webhook_event (organization_id, processed_at) where source = 'sweep' and not success`,
    );
  }
}
