import { Migration } from '@mikro-orm/migrations';

/**
 * Indexes by which no statement that runs again and again reads a whole table that only grows, by which a row
 * is removed without a look at every row that may refer to it, and by which retention finds what is old.
 *
 * Each one locks the writers of its table while it is built. `if not exists`: where that is too long, they are
 * built before, `concurrently`; see docs/data.md.
 */
export class IndexesForGrowth extends Migration {
  override name = '0019-indexes-for-growth';

  override up(): void {
    for (const index of INDEXES) this.addSql(`create index if not exists ${index}`);
  }
}

/** The name of each, and what it is on: docs/data.md has the same. */
export const INDEXES = [
  'webhook_event_duplicate_of on webhook_event (duplicate_of) where duplicate_of is not null',
  `webhook_event_age on webhook_event (processed_at) where processed and payload <> '{}'`,
  'stripe_event_age on stripe_event (received_at)',
  `outbound_event_age on outbound_event (created_at) where type not in ('drift.detected', 'recharge.overdue')`,
  'litellm_team_gone on litellm_team (gone_at) where gone_at is not null',
  `sync_run_running on sync_run (started_at) where status = 'running'`,
  'reversal_organization on reversal (organization_id, updated_at)',
  'reversal_created on reversal (created_at, id)',
  'organization_created on organization_balance_config (created_at, c_organization_id)',
  `hold_of_service on hold (reason, released_at) where scope = 'service'`,
];
