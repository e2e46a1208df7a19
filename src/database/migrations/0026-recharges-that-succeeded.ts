import { Migration } from '@mikro-orm/migrations';

/**
 * An index by which the recharge of an organization is found that was granted last: not always the youngest one, since a
 * person may grant an older one whose refund has failed. Built as those of 0019 are.
 */
export class RechargesThatSucceeded extends Migration {
  override name = '0026-recharges-that-succeeded';

  override up(): void {
    this.addSql(`create index if not exists ${SUCCEEDED_INDEX}`);
  }
}

/** docs/data.md has the same. */
export const SUCCEEDED_INDEX = `recharge_succeeded on recharge (organization_id, updated_at) where status = 'succeeded'`;
