/**
 * Budgets that were edited in LiteLLM and are right all the same: a person has said so. Our next write makes the
 * acceptance history.
 */
import { LockMode } from '@mikro-orm/core';
import { formatQuota, type QuotaMicros } from '../domain/money.ts';
import * as balanceSamples from './balance-samples.ts';
import * as budgets from './budgets.ts';
import type { EntityManager } from './database.ts';
import { Organization } from './entities.ts';
import * as holds from './holds.ts';

/**
 * Accepts what LiteLLM shows of the organization's team, and ends the hold on a budget that was lowered. False where
 * another budget is expected by now, or the same again: ours was written after LiteLLM was looked at.
 *
 * @param seen what LiteLLM shows: it is the newest balance that is known, too.
 * @param organization as it was before LiteLLM was looked at: whatever settles since advances its version.
 */
export async function accept(
  em: EntityManager,
  { id, litellmTeamId, version: seenVersion }: Pick<Organization, 'id' | 'litellmTeamId' | 'version'>,
  { seen, expected, reason, by }: { seen: { quota: QuotaMicros; spend: QuotaMicros }; expected: QuotaMicros; reason: string; by: string },
): Promise<boolean> {
  return em.transactional(async (tx) => {
    // No write of ours begins or ends meanwhile.
    const { version } = await tx.findOneOrFail(Organization, id, { lockMode: LockMode.PESSIMISTIC_WRITE });
    if (version !== seenVersion || (await budgets.expectedOf(tx, id)) !== expected) return false;
    await holds.releaseOf(tx, { scope: 'organization', subject: id, reasons: ['budget_lowered'] }, { by, reason });
    await tx.execute(
      `insert into accepted_budget (organization_id, litellm_team_id, quota, reason, accepted_by, at) values (?, ?, ?, ?, ?, clock_timestamp())`,
      [id, litellmTeamId, formatQuota(seen.quota), reason, by],
    );
    await balanceSamples.record(tx, [{ organizationId: id, litellmTeamId, ...seen }]);
    return true;
  });
}
