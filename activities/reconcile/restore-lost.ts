import type { EntityManager } from '../../src/database/database.ts';
import { tellFindings } from '../../src/database/drift-events.ts';
import type { Organization } from '../../src/database/entities.ts';
import * as organizations from '../../src/database/organizations.ts';
import * as recharges from '../../src/database/recharges.ts';
import * as webhookEvents from '../../src/database/webhook-events.ts';
import { type Finding, findingOf } from '../../src/domain/finding.ts';
import { currency, minorUnits } from '../../src/domain/money.ts';
import type { Intent } from '../../src/payments/intent.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { LostIntent } from './types.ts';

/**
 * Enters the recharge of a captured intent again that the database has lost, and starts its run, which
 * settles it by the budgets that the intent remembers. An organization has one open recharge at a time, so
 * the oldest come first.
 */
export function restoreLost({ database, payments, workflows }: Pick<ActivityDependencies, 'database' | 'payments' | 'workflows'>) {
  return async ({ intentId, fix }: LostIntent & { fix: boolean }): Promise<Finding> => {
    const em = database.fork();
    const finding = await restore(em, { payments, workflows }, { intentId, fix });
    // Without `fix` the next scheduled run restores it.
    if (fix) await tellFindings(em, [finding]);
    return finding;
  };
}

async function restore(
  em: EntityManager,
  { payments, workflows }: Pick<ActivityDependencies, 'payments' | 'workflows'>,
  { intentId, fix }: LostIntent & { fix: boolean },
): Promise<Finding> {
  const intent = await payments.readIntent(intentId);
  const { rechargeId: id = '', eventId = '', organizationId = '', litellmTeamId: teamId = '' } = intent.metadata ?? {};
  const sighting = { subject: id, organizationId, seen: `PaymentIntent ${intentId} is ${intent.status}` };
  const organization = await organizations.find(em, organizationId);
  const lost = organization && lostRecharge(intent, organization);
  if (!lost) return findingOf('recharge_lost', { ...sighting, waitsFor: 'organization' });
  if (!fix) return findingOf('recharge_lost', { ...sighting, waitsFor: 'fix' });
  await webhookEvents.restore(em, { id: eventId, organizationId, teamId });
  const settled = await recharges.restore(em, lost);
  if (settled) await workflows.restartRecharge({ id: eventId, organizationId, teamId, source: 'webhook', eventType: 'restored' });
  return findingOf('recharge_lost', { ...sighting, settled, waitsFor: 'open_recharge' });
}

/** The recharge as its intent remembers it; undefined for an intent that does not say enough. */
function lostRecharge(
  { id: paymentIntentId, metadata, ...intent }: Intent,
  organization: Organization,
): recharges.LostRecharge | undefined {
  if (!metadata) return undefined;
  const { rechargeId: id, eventId, litellmTeamId, quota, quotaBefore, balance } = metadata;
  if (quota === null || quotaBefore === null || balance === null || intent.amountMinor === null || intent.currency === null)
    return undefined;
  return {
    id,
    eventId,
    organizationId: organization.id,
    litellmTeamId,
    stripeCustomerId: intent.customerId ?? organization.stripeCustomerId,
    amountMinor: minorUnits(intent.amountMinor),
    currency: currency(intent.currency),
    quotaGranted: quota,
    balanceSeen: balance,
    quotaBefore,
    paymentIntentId,
  };
}
