import { ApplicationFailure } from '@temporalio/activity';
import * as balanceSamples from '../../src/database/balance-samples.ts';
import * as budgets from '../../src/database/budgets.ts';
import * as cardHolds from '../../src/database/card-holds.ts';
import type { EntityManager } from '../../src/database/database.ts';
import type { Organization, Recharge, WebhookEvent } from '../../src/database/entities.ts';
import * as holds from '../../src/database/holds.ts';
import * as lowBalances from '../../src/database/low-balances.ts';
import * as organizations from '../../src/database/organizations.ts';
import * as recharges from '../../src/database/recharges.ts';
import * as reservations from '../../src/database/reservations.ts';
import * as webhookEvents from '../../src/database/webhook-events.ts';
import { isRefusalEvent } from '../../src/domain/crossing.ts';
import { FAILURE } from '../../src/domain/failures.ts';
import { expectedSpend, SPEND_WINDOW_MS } from '../../src/domain/forecast.ts';
import { loweredBudget } from '../../src/domain/hold.ts';
import { formatMoney, formatQuota, type QuotaMicros, quotaFromDollars, quotaMicros } from '../../src/domain/money.ts';
import {
  type AlertFigures,
  decideRecharge,
  isRefusedByReservation,
  type LiveBudget,
  type Occasion,
  REFUSALS,
  type Refusal,
  spendIsStillFlushing,
} from '../../src/domain/policy.ts';
import { KmsError } from '../../src/kms/errors.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import { findCard } from './find-card.ts';
import type { EventRef, LimitsResult, ReservedRecharge, SpendFlushing } from './types.ts';

/**
 * A recharge that settles between our read and our decision makes us read again. Five in a row are not
 * expected.
 */
const MAX_READS = 5;

/** The one that goes first takes a second or two. */
const NEXT_TURN = '2 seconds';

/** LiteLLM has just been read, so its key is right. */
const LITELLM_KEY = { scope: 'service', subject: 'litellm', reasons: ['key_refused'] } as const;

/** Longer than any replica lags. After it, an old value counts as a deliberate edit. */
const STALE_MS = 5 * 60 * 1000;

/**
 * Reads the team's live balance from KMS, applies the organization's policy and reserves the recharge, amount
 * frozen.
 *
 * Idempotent by the event's id: an event that has a recharge gets that one again.
 */
export function checkLimits({ database, kms, payments }: Pick<ActivityDependencies, 'database' | 'kms' | 'payments'>) {
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
      const expected = await budgets.expectedOf(em, organization.id);
      const budget = await budgetOf(kms, organization);
      if (budget === null) return refused('team_not_found');
      await requireFresh(em, organization, budget);
      await holds.releaseOf(em, LITELLM_KEY, { by: eventId, reason: 'LiteLLM takes the key' });
      await lowBalances.note(em, [{ organization, budget }]);
      await holdIfLowered(em, organization, { shown: budget.quota, expected });
      const isAhead = isAlertAheadOfKms(event, budget, organization);
      const isRefusal = isRefusalEvent(event.eventType) && isRefusedByReservation(figuresOf(event, organization), budget);
      if (isAhead && !isRefusal) return spendFlushing(budget, 'spend_not_shown');

      const occasion: Occasion = event.source === 'sweep' ? await occasionOfSweep(em, organization, budget) : { kind: 'alert', isRefusal };
      const found = (await cardHolds.isCardInQuestion(em, organization.id))
        ? await findCard(em, payments, whoseCard(organization))
        : undefined;
      const reservation = await reservations.reserve(database.fork(), event, {
        organizationId: organization.id,
        seenVersion: organization.version,
        seenTeamId: organization.litellmTeamId,
        card: found?.kind === 'found' ? found.card : undefined,
        decide: (policy, history) => decideRecharge({ policy, budget, history, occasion }),
      });
      if (reservation.kind === 'event_closed') return { kind: 'refused', outcome: 'cancelled', reason: 'the event was closed before' };
      // The spend may be on its way to LiteLLM's database, and then a charge is due.
      if (isAhead && reservation.kind === 'refused' && reservation.refusal === 'refused_with_money_left')
        return spendFlushing(budget, reservation.refusal);
      if (reservation.kind === 'refused') {
        await noteSeen(em, organization, { budget, refusal: reservation.refusal });
        return { kind: 'refused', outcome: reservation.refusal, reason: reservation.reason };
      }
      if (reservation.kind === 'not_its_turn') {
        const message = 'nothing shows yet that LiteLLM takes a raise, and another recharge goes first';
        throw ApplicationFailure.create({ message, type: FAILURE.raiseUnproven, nextRetryDelay: NEXT_TURN });
      }
      if (reservation.kind === 'reserved') return { kind: 'reserved', recharge: describe(reservation.recharge, organization, event) };
    }
    throw ApplicationFailure.retryable(`the balance changed during ${MAX_READS} reads`, FAILURE.balanceUnstable);
  };
}

/**
 * A refusal is shown beside the balance that it was decided on, which a reservation has in its row. While a recharge is
 * open, the budget may have been raised since it was read.
 */
async function noteSeen(
  em: EntityManager,
  { id: organizationId, litellmTeamId }: Organization,
  { budget: { quota, spend }, refusal }: { budget: LiveBudget; refusal: Refusal },
): Promise<void> {
  if (refusal === 'recharge_open') return;
  await balanceSamples.record(em, [{ organizationId, litellmTeamId, quota, spend }]);
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

/**
 * A budget below what our last write left was lowered by somebody: what was paid for is gone, and charging
 * again would pay for it twice. A person says which of the two is right.
 *
 * @param expected from before LiteLLM was read; what is expected after that differs where we have written
 *   meanwhile, and then nothing is known.
 */
async function holdIfLowered(
  em: EntityManager,
  { id, litellmTeamId }: Organization,
  { shown, expected }: { shown: QuotaMicros | null; expected: QuotaMicros | null },
): Promise<void> {
  const detail = loweredBudget({ teamId: litellmTeamId, shown, expected });
  if (detail === null || shown === null || (await budgets.expectedOf(em, id)) !== expected) return;
  await holds.open(em, {
    scope: 'organization',
    subject: id,
    reason: 'budget_lowered',
    detail,
    openedBy: 'checkLimits',
    organizationId: id,
    quota: shown,
  });
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

function isAlertAheadOfKms(event: WebhookEvent, budget: LiveBudget, organization: Organization): boolean {
  const { minimumBalance } = organization;
  if (event.source !== 'webhook' || (budget.quota !== null && balanceOf(budget) <= minimumBalance)) return false;
  return spendIsStillFlushing(figuresOf(event, organization).spend, budget, minimumBalance);
}

/** The alert's own figures. Those of a team that the organization had before say nothing of the one that it has. */
function figuresOf({ teamId, payload }: WebhookEvent, { litellmTeamId }: Organization): AlertFigures {
  const { spend, max_budget: budget } = teamId === litellmTeamId ? payload : {};
  return { spend: quotaIn(spend), budget: quotaIn(budget) };
}

function quotaIn(dollars: unknown): QuotaMicros | null {
  return typeof dollars === 'number' && Math.abs(dollars) < 1e9 ? quotaFromDollars(dollars) : null;
}

function spendFlushing(budget: LiveBudget, outcome: SpendFlushing['outcome']): LimitsResult {
  return { kind: 'spend_flushing', balance: formatQuota(balanceOf(budget)), outcome, reason: REFUSALS[outcome] };
}

function balanceOf({ quota, spend }: LiveBudget): QuotaMicros {
  return quotaMicros((quota ?? 0) - spend);
}

function whoseCard({ id, stripeCustomerId }: Organization): { organizationId: string; stripeCustomerId: string } {
  return { organizationId: id, stripeCustomerId };
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
