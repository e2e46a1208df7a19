import { Migration } from '@mikro-orm/migrations';

/** Why money went back, in Stripe's word. Of reversals from before it is not known. */
export class ReasonsOfReversals extends Migration {
  override name = '0025-reasons-of-reversals';

  override up(): void {
    this.addSql('alter table reversal add column reason text');
  }
}
