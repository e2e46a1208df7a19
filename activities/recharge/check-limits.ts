import { ApplicationFailure } from '@temporalio/activity';
import * as balanceSamples from '../../src/database/balance-samples.ts';
import type { EntityManager } from '../../src/database/database.ts';
import type { Organization, Recharge, WebhookEvent } from '../../src/database/entities.ts';
import * as lowBalances from '../../src/database/low-balances.ts';
import * as organizations from '../../src/database/organizations.ts';
import * as recharges from '../../src/database/recharges.ts';
import * as webhookEvents from '../../src/database/webhook-events.ts';
import { FAILURE } from '../../src/domain/failures.ts';
import { expectedSpend, SPEND_WINDOW_MS } from '../../src/domain/forecast.ts';
import { formatMoney, formatQuota, type QuotaMicros, quotaFromDollars, quotaMicros } from '../../src/domain/money.ts';
import { decideRecharge, type LiveBudget, type Occasion, REFUSALS, type Refusal, spendIsStillFlushing } from '../../src/domain/policy.ts';
import { KmsError } from '../../src/kms/errors.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { EventRef, LimitsResult, ReservedRecharge } from './types.ts';

/**
 * A recharge that settles between our read and our decision makes us read again. Five in a row are not
 * expected.
 */
const MAX_READS = 5;

/** Longer than any replica lags. After it, an old value counts as a deliberate edit. */
const STALE_MS = 5 * 60 * 1000;

/**
 * Reads the team's live balance from KMS, applies the organization's policy and reserves the recharge, amount
 * frozen.
 *
 * Idempotent by the event's id: an event that has a recharge gets that one again.
 */
export function checkLimits({ database, kms }: Pick<ActivityDependencies, 'database' | 'kms'>) {
  return async ({ eventId }: EventRef): Promise<LimitsResult> => {
    for (let read = 0; read < MAX_READS; read++) {
      const em = database.fork();
      const event = await webhookEvents.find(em, eventId);
      const organization = event?.organizationId && (await organizations.find(em, event.organizationId));
      if (!event || !organization) {
        throw ApplicationFailure.nonRetryable(`event ${eventId} or its organization is gone from the database`, FAILURE.unexpectedStatus);
      }
      const existing = await recharges.findByEvent(em, eventId);
      if (existing) return { kind: 'reserved', recharge: describe(existing, organization, event) };
      const budget = await budgetOf(kms, organization);
      if (budget === null) return refused('team_not_found');
      await requireFresh(em, organization, budget);
      await lowBalances.note(em, [{ organization, budget }]);
      if (isAlertAheadOfKms(event, budget, organization)) {
        return { kind: 'spend_flushing', balance: formatQuota(balanceOf(budget)) };
      }

      const occasion: Occasion = event.source === 'sweep' ? await occasionOfSweep(em, organization, budget) : { kind: 'alert' };
      const reservation = await recharges.reserve(database.fork(), event, {
        organizationId: organization.id,
        seenVersion: organization.version,
        decide: (policy, history) => decideRecharge({ policy, budget, history, occasion }),
      });
      if (reservation.kind === 'event_closed') return { kind: 'refused', outcome: 'cancelled', reason: 'the event was closed before' };
      if (reservation.kind === 'refused') return refused(reservation.refusal);
      if (reservation.kind === 'reserved') return { kind: 'reserved', recharge: describe(reservation.recharge, organization, event) };
    }
    throw ApplicationFailure.retryable(`the balance changed during ${MAX_READS} reads`, FAILURE.balanceUnstable);
  };
}

/**
 * A LiteLLM that reads from a replica, or has been restored, may still show the budget from before the last
 * recharge; what would be decided on that could not be written.
 */
async function requireFresh(em: EntityManager, organization: Organization, { quota }: LiveBudget): Promise<void> {
  const last = await recharges.justGranted(em, organization, STALE_MS);
  if (last && quota === last.quotaBefore && quota !== last.quotaAfter) {
    throw ApplicationFailure.retryable(`LiteLLM shows the budget from before recharge ${last.id}`, FAILURE.kmsStale);
  }
}

async function budgetOf(kms: ActivityDependencies['kms'], organization: Organization): Promise<LiveBudget | null> {
  try {
    return await kms.teamBudget(organization.litellmTeamId);
  } catch (error) {
    if (error instanceof KmsError && error.kind === 'not_found') return null;
    throw error;
  }
}

async function occasionOfSweep(em: EntityManager, { id }: Organization, { spend }: LiveBudget): Promise<Occasion> {
  const samples = (await balanceSamples.recent(em, [id], SPEND_WINDOW_MS)).get(id) ?? [];
  return { kind: 'sweep', expectedSpend: expectedSpend(samples, spend) };
}

function isAlertAheadOfKms(event: WebhookEvent, budget: LiveBudget, { minimumBalance }: Organization): boolean {
  if (event.source !== 'webhook' || (budget.quota !== null && balanceOf(budget) <= minimumBalance)) return false;
  return spendIsStillFlushing(spendIn(event.payload), budget, minimumBalance);
}

/** The alert's own figure; null when it holds none that can be one. */
function spendIn({ spend }: Record<string, unknown>): QuotaMicros | null {
  return typeof spend === 'number' && Math.abs(spend) < 1e9 ? quotaFromDollars(spend) : null;
}

function balanceOf({ quota, spend }: LiveBudget): QuotaMicros {
  return quotaMicros((quota ?? 0) - spend);
}

function refused(refusal: Refusal): LimitsResult {
  return { kind: 'refused', outcome: refusal, reason: REFUSALS[refusal] };
}

function describe(recharge: Recharge, organization: Organization, event: WebhookEvent): ReservedRecharge {
  return {
    rechargeId: recharge.id,
    organizationId: organization.id,
    organizationName: organization.name,
    teamId: recharge.litellmTeamId,
    source: recharge.source,
    eventType: event.eventType,
    amountMinor: recharge.amountMinor,
    amount: `${formatMoney(recharge.amountMinor, recharge.currency)} ${recharge.currency.toUpperCase()}`,
    balance: formatQuota(recharge.balanceSeen),
    minimumBalance: formatQuota(organization.minimumBalance),
  };
}
