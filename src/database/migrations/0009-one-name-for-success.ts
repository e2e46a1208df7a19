import { Migration } from '@mikro-orm/migrations';

/** The event of a recharge that succeeded ends as `succeeded`, like the recharge; it was `recharged` before. */
export class OneNameForSuccess extends Migration {
  override name = '0009-one-name-for-success';

  override up(): void {
    this.addSql(`update webhook_event set outcome = 'succeeded' where outcome = 'recharged'`);
  }
}
