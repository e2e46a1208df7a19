/** Early fraud warnings: each holds its organization once, however often it comes. */
import { LockMode } from '@mikro-orm/core';
import { describeWarning, type FraudWarning } from '../domain/fraud-warning.ts';
import type { EntityManager } from './database.ts';
import { Organization, type Recharge } from './entities.ts';
import * as holds from './holds.ts';

/** Whether a hold was ever opened for the warning, even if a person has released it since. */
export async function wasHeldFor(em: EntityManager, { organizationId }: Recharge, warningId: string): Promise<boolean> {
  const rows = await em.execute(
    `select from hold where organization_id = ? and reason = 'fraud_warning' and ? = any (string_to_array(opened_by, ' ')) limit 1`,
    [organizationId, warningId],
  );
  return rows.length > 0;
}

/**
 * Holds the organization for a warning of its charge. One that comes while it is held for another is added to
 * that hold, so that a person hears of each charge and releases them together.
 */
export async function hold(em: EntityManager, recharge: Recharge, warning: FraudWarning): Promise<void> {
  const { organizationId } = recharge;
  await em.transactional(async (tx) => {
    // The event and reconciliation may bring the same warning at once.
    await tx.findOneOrFail(Organization, organizationId, { lockMode: LockMode.PESSIMISTIC_WRITE });
    if (await wasHeldFor(tx, recharge, warning.id)) return;
    const hold = {
      scope: 'organization',
      subject: organizationId,
      reason: 'fraud_warning',
      detail: describeWarning(warning, recharge),
      openedBy: warning.id,
      organizationId,
    } as const;
    if (!(await holds.addTo(tx, hold))) await holds.open(tx, hold);
  });
}
