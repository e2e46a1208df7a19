import type { EntityManager } from '../../src/database/database.ts';
import * as fraudWarnings from '../../src/database/fraud-warnings.ts';
import * as recharges from '../../src/database/recharges.ts';
import { type Finding, findingOf } from '../../src/domain/finding.ts';
import { describeWarning, type FraudWarning } from '../../src/domain/fraud-warning.ts';
import { PaymentsError } from '../../src/payments/errors.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import { RETURNED_LOOK_BACK_MS } from './follow-returned-money.ts';

type Dependencies = { em: EntityManager } & Pick<ActivityDependencies, 'payments' | 'log'>;

/**
 * Early fraud warnings whose event was lost. With `fix` the organization is held for them. One that was held
 * for and released by a person is done with.
 */
export async function followFraudWarnings({ em, payments, log }: Dependencies, fix: boolean): Promise<Finding[]> {
  const findings: Finding[] = [];
  for await (const warning of readableWarnings({ payments, log })) {
    const recharge = warning.intentId && (await recharges.findByIntent(em, warning.intentId));
    if (!recharge || (await fraudWarnings.wasHeldFor(em, recharge, warning.id))) continue;
    if (fix) await fraudWarnings.hold(em, recharge, warning);
    const { organizationId } = recharge;
    const seen = describeWarning(warning, recharge);
    findings.push(findingOf('fraud_warning_missed', { subject: warning.id, organizationId, seen, settled: fix }));
  }
  return findings;
}

/** None when a restricted key may not read them: the rest of reconciliation does not wait for that permission. */
async function* readableWarnings({ payments, log }: Omit<Dependencies, 'em'>): AsyncGenerator<FraudWarning> {
  try {
    yield* payments.fraudWarningsSince(new Date(Date.now() - RETURNED_LOOK_BACK_MS));
  } catch (error) {
    if (!(error instanceof PaymentsError) || error.status !== 403) throw error;
    log.warn({ reason: error.message }, 'the Stripe key may not read early fraud warnings: bill doctor names each permission');
  }
}
