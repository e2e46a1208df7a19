import { Migration } from '@mikro-orm/migrations';

/**
 * Indexes by which the story of a recharge is found by any id that a person may hold, and by which the status finds
 * those organizations of which something has to be said. Built as those of 0019 are.
 */
export class IndexesForStories extends Migration {
  override name = '0021-indexes-for-stories';

  override up(): void {
    for (const index of STORY_INDEXES) this.addSql(`create index if not exists ${index}`);
  }
}

/** The name of each, and what it is on: docs/data.md has the same. */
export const STORY_INDEXES = [
  'recharge_refund on recharge (refund_id) where refund_id is not null',
  'hold_opened_by on hold (opened_by)',
  `reversal_unsettled on reversal (organization_id) where status in ('open', 'needs_attention')`,
  'organization_off on organization_balance_config (c_organization_id) where not auto_recharge_enabled',
];
