import type Stripe from 'stripe';
import type { Organization } from '../../src/database/entities.ts';
import * as organizations from '../../src/database/organizations.ts';
import * as recharges from '../../src/database/recharges.ts';
import * as webhookEvents from '../../src/database/webhook-events.ts';
import { type Finding, findingOf } from '../../src/domain/finding.ts';
import { currency, minorUnits, parseQuota } from '../../src/domain/money.ts';
import type { IntentMetadata } from '../../src/payments/client.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { LostIntent } from './types.ts';

/**
 * Enters the recharge of a captured intent again that the database has lost, and starts its run, which settles it by the
 * budgets that the intent remembers. An organization has one open recharge at a time, so the oldest come first.
 */
export function restoreLost({ database, payments, workflows }: Pick<ActivityDependencies, 'database' | 'payments' | 'workflows'>) {
  return async ({ intentId, fix }: LostIntent & { fix: boolean }): Promise<Finding> => {
    const em = database.fork();
    const intent = await payments.readIntent(intentId);
    const metadata = metadataOf(intent);
    const { recharge_id: id = '', event_id: eventId = '', organization_id: organizationId = '', litellm_team_id: teamId = '' } = metadata;
    const sighting = { subject: id, organizationId, seen: `PaymentIntent ${intentId} is ${intent.status}` };
    const organization = await organizations.find(em, organizationId);
    const lost = organization && lostRecharge(intent, organization);
    if (!lost) return findingOf('recharge_lost', { ...sighting, waitsFor: 'organization' });
    if (!fix) return findingOf('recharge_lost', { ...sighting, waitsFor: 'fix' });
    await webhookEvents.restore(em, eventId, organizationId, teamId);
    const settled = await recharges.restore(em, lost);
    if (settled) await workflows.restartRecharge({ id: eventId, organizationId, teamId, source: 'webhook', eventType: 'restored' });
    return findingOf('recharge_lost', { ...sighting, settled, waitsFor: 'open_recharge' });
  };
}

function metadataOf({ metadata }: Stripe.PaymentIntent): Partial<IntentMetadata> {
  return metadata;
}

/** The recharge as its intent remembers it; undefined for an intent that remembers no budgets. */
function lostRecharge(intent: Stripe.PaymentIntent, organization: Organization): recharges.LostRecharge | undefined {
  const { recharge_id: id = '', event_id: eventId = '', litellm_team_id: litellmTeamId = '', ...figures } = metadataOf(intent);
  if (!figures.quota || !figures.quota_before || !figures.balance) return undefined;
  return {
    id,
    eventId,
    organizationId: organization.id,
    litellmTeamId,
    stripeCustomerId: typeof intent.customer === 'string' ? intent.customer : organization.stripeCustomerId,
    amountMinor: minorUnits(intent.amount),
    currency: currency(intent.currency),
    quotaGranted: parseQuota(figures.quota),
    balanceSeen: parseQuota(figures.balance),
    quotaBefore: parseQuota(figures.quota_before),
    paymentIntentId: intent.id,
  };
}
