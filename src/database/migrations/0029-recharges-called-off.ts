import { Migration } from '@mikro-orm/migrations';

/**
 * An index by which those organizations are found whose recharge was called off because of a hold on its card: they have
 * made no attempt on that card. Built as those of 0019 are.
 */
export class RechargesCalledOff extends Migration {
  override name = '0029-recharges-called-off';

  override up(): void {
    this.addSql(`create index if not exists ${CALLED_OFF_INDEX}`);
  }
}

/** docs/data.md has the same. */
export const CALLED_OFF_INDEX = `recharge_called_off on recharge (card_fingerprint) where status = 'cancelled'`;
