/**
 * Budgets that were edited in LiteLLM and are right all the same: a person has said so. Our next write makes the
 * acceptance history.
 */
import { formatQuota, type QuotaMicros } from '../domain/money.ts';
import type { EntityManager } from './database.ts';
import type { Organization } from './entities.ts';
import * as holds from './holds.ts';

/** Accepts what LiteLLM shows of the organization's team, and ends the hold on a budget that was lowered. */
export async function accept(
  em: EntityManager,
  { id, litellmTeamId }: Pick<Organization, 'id' | 'litellmTeamId'>,
  { quota, reason, by }: { quota: QuotaMicros; reason: string; by: string },
): Promise<void> {
  await em.transactional(async (tx) => {
    // Before the row, whose time is then after what ended under the organization's lock.
    await holds.releaseOf(tx, { scope: 'organization', subject: id, reasons: ['budget_lowered'] }, { by, reason });
    await tx.execute(
      `insert into accepted_budget (organization_id, litellm_team_id, quota, reason, accepted_by, at) values (?, ?, ?, ?, ?, clock_timestamp())`,
      [id, litellmTeamId, formatQuota(quota), reason, by],
    );
  });
}
