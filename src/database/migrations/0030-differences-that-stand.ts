import { Migration } from '@mikro-orm/migrations';

/** An index by which the differences of an organization are found that were told and have not ended. Built as those of 0019 are. */
export class DifferencesThatStand extends Migration {
  override name = '0030-differences-that-stand';

  override up(): void {
    this.addSql(`create index if not exists ${STANDING_DRIFT_INDEX}`);
  }
}

/** docs/data.md has the same. */
export const STANDING_DRIFT_INDEX = `outbound_event_standing_drift on outbound_event (organization_id) where type = 'drift.detected' and key like 'drift/%'`;
