import { tellFindings } from '../../src/database/drift-events.ts';
import { type Finding, findingOf } from '../../src/domain/finding.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import { enterLost } from '../lost-recharge.ts';
import type { LostIntent } from './types.ts';

/** Enters the recharge of a captured intent again that the database has lost; the oldest come first. */
export function restoreLost({ database, payments, workflows }: Pick<ActivityDependencies, 'database' | 'payments' | 'workflows'>) {
  return async ({ intentId, fix }: LostIntent & { fix: boolean }): Promise<Finding> => {
    const em = database.fork();
    const intent = await payments.readIntent(intentId);
    const { rechargeId = '', organizationId = '' } = intent.metadata ?? {};
    const entry = await enterLost({ em, payments, workflows }, intent, { isDryRun: !fix });
    const finding = findingOf('recharge_lost', {
      subject: rechargeId,
      organizationId,
      seen: `PaymentIntent ${intentId} is ${intent.status}`,
      settled: entry === 'entered',
      waitsFor: entry === 'entered' || entry === 'left' ? 'fix' : entry,
    });
    // Without `fix` the next scheduled run restores it.
    if (fix) await tellFindings(em, [finding]);
    return finding;
  };
}
