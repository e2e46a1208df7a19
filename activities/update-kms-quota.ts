import { ApplicationFailure } from '@temporalio/activity';
import type { EntityManager } from '../src/database/database.ts';
import type { Recharge } from '../src/database/entities.ts';
import * as recharges from '../src/database/recharges.ts';
import { FAILURE } from '../src/domain/failures.ts';
import { formatQuota, type QuotaMicros } from '../src/domain/money.ts';
import type { ActivityDependencies } from './index.ts';
import type { QuotaResult, RechargeRef } from './types.ts';

/**
 * Raises the team's budget by what was paid, and enters it in the ledger: prepaid → granted.
 *
 * LiteLLM has no increment, so the budget before and after is stored first and the absolute value written, however often
 * it takes. A budget that is neither of the two is somebody else's edit: it stays, both values are kept, and a person decides.
 */
export function updateKmsQuota({ database, kms }: Pick<ActivityDependencies, 'database' | 'kms'>) {
  return async ({ rechargeId }: RechargeRef): Promise<QuotaResult> => {
    const em = database.fork();
    const recharge = await recharges.get(em, rechargeId);
    if (recharge.status === 'succeeded') return granted(recharge);
    if (recharge.status !== 'charged') {
      throw ApplicationFailure.nonRetryable(`recharge ${rechargeId} is ${recharge.status}, so no quota is due`, FAILURE.unexpectedStatus);
    }

    let live = await liveQuota(kms, recharge);
    if (live === null) return park(em, recharge, 'the team has become unlimited in LiteLLM (max_budget is null)');
    const { before, after } = await recharges.planQuotaWrite(em, recharge, live);
    if (live === before) {
      await kms.setTeamBudget(recharge.litellmTeamId, after);
      live = await liveQuota(kms, recharge);
    }
    if (live === after) {
      const facts = { quota_before: formatQuota(before), quota_after: formatQuota(after) };
      return granted(await recharges.move(em, recharge, 'succeeded', { transfer: 'grant', facts }));
    }
    if (live === before)
      throw ApplicationFailure.retryable('LiteLLM still shows the budget from before the write', FAILURE.kmsWriteNotVisible);
    const shown = live === null ? 'unlimited' : formatQuota(live);
    return park(
      em,
      recharge,
      `max_budget is ${shown}, expected ${formatQuota(before)} or ${formatQuota(after)}: somebody else has edited it`,
    );
  };
}

async function liveQuota(kms: ActivityDependencies['kms'], { litellmTeamId }: Recharge): Promise<QuotaMicros | null> {
  return (await kms.teamBudget(litellmTeamId)).quota;
}

function granted({ quotaBefore, quotaAfter }: Recharge): QuotaResult {
  return { kind: 'granted', before: formatQuota(quotaBefore as QuotaMicros), after: formatQuota(quotaAfter as QuotaMicros) };
}

async function park(em: EntityManager, recharge: Recharge, reason: string): Promise<QuotaResult> {
  await recharges.move(em, recharge, 'needs_attention', {
    changes: { failureCode: 'foreign_budget_edit', failureMessage: reason },
    facts: { reason },
  });
  return { kind: 'needs_attention', reason };
}
