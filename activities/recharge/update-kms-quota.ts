import { ApplicationFailure } from '@temporalio/activity';
import type { Recharge } from '../../src/database/entities.ts';
import * as recharges from '../../src/database/recharges.ts';
import { FAILURE } from '../../src/domain/failures.ts';
import { formatQuota, type QuotaMicros } from '../../src/domain/money.ts';
import { writeBudget } from '../budget-write.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { QuotaResult, RechargeRef } from './types.ts';

/** Raises the team's budget by what was paid, and enters it in the ledger: prepaid → granted. */
export function updateKmsQuota({ database, kms }: Pick<ActivityDependencies, 'database' | 'kms'>) {
  return async ({ rechargeId }: RechargeRef): Promise<QuotaResult> => {
    const em = database.fork();
    const recharge = await recharges.get(em, rechargeId);
    if (recharge.status === 'succeeded') return granted(recharge);
    if (recharge.status !== 'charged') {
      throw ApplicationFailure.nonRetryable(`recharge ${rechargeId} is ${recharge.status}, so no quota is due`, FAILURE.unexpectedStatus);
    }

    const { organizationId, litellmTeamId: teamId } = recharge;
    const write = await writeBudget(em, kms, { organizationId, teamId, writer: recharge.id }, async (live) => {
      const planned = await recharges.planQuotaWrite(em, recharge, live);
      return {
        ...planned,
        onOver: () => recharges.noteWriteOver(em, recharge, planned),
        onWithoutEffect: () => recharges.noteWriteWithoutEffect(em, recharge, planned),
      };
    });
    if (write.kind === 'edited') {
      await recharges.move(em, recharge, {
        to: 'needs_attention',
        changes: { failureCode: 'foreign_budget_edit', failureMessage: write.reason },
        facts: { reason: write.reason },
      });
      return { kind: 'needs_attention', reason: write.reason };
    }
    const facts = { quota_before: formatQuota(write.before), quota_after: formatQuota(write.after) };
    return granted(await recharges.move(em, recharge, { to: 'succeeded', transfer: 'grant', changes: { writeUntil: null }, facts }));
  };
}

function granted({ quotaBefore, quotaAfter }: Recharge): QuotaResult {
  return { kind: 'granted', before: shown(quotaBefore), after: shown(quotaAfter) };
}

/** Without a plan a person has accepted it before anything was written. */
function shown(quota: QuotaMicros | null | undefined): string {
  return quota === null || quota === undefined ? 'unknown' : formatQuota(quota);
}
