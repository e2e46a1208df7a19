import { ApplicationFailure } from '@temporalio/activity';
import * as budgets from '../../src/database/budgets.ts';
import type { EntityManager } from '../../src/database/database.ts';
import type { Recharge } from '../../src/database/entities.ts';
import * as holds from '../../src/database/holds.ts';
import * as organizations from '../../src/database/organizations.ts';
import * as quotaWrites from '../../src/database/quota-writes.ts';
import * as recharges from '../../src/database/recharges.ts';
import * as webhookEvents from '../../src/database/webhook-events.ts';
import { FAILURE } from '../../src/domain/failures.ts';
import { formatQuota, type QuotaMicros } from '../../src/domain/money.ts';
import { BudgetRefusedError, writeBudget } from '../budget-write.ts';
import { countClosed } from '../closed-event.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { QuotaResult, RechargeRef } from './types.ts';

/** Raises the team's budget by what was paid, enters it in the ledger (prepaid → granted), and closes the event with it. */
export function updateKmsQuota({ database, kms, log, metrics }: Pick<ActivityDependencies, 'database' | 'kms' | 'log' | 'metrics'>) {
  return async ({ rechargeId }: RechargeRef): Promise<QuotaResult> => {
    const em = database.fork();
    const recharge = await recharges.get(em, rechargeId);
    if (recharge.status === 'succeeded') return granted(recharge);
    if (recharge.status !== 'charged') {
      throw ApplicationFailure.nonRetryable(`recharge ${rechargeId} is ${recharge.status}, so no quota is due`, FAILURE.unexpectedStatus);
    }

    if (recharge.refundId) {
      // Entered again by a database that has lost it: its run goes on to the refund.
      throw ApplicationFailure.nonRetryable(`refund ${recharge.refundId} was asked for before`, FAILURE.refundAskedFor);
    }

    const { organizationId, litellmTeamId: teamId } = recharge;
    const objection = mayHaveMoved(recharge)
      ? ((await budgets.objectionTo(em, { id: organizationId, teamId })) ?? (await whyLeft(em, recharge)))
      : null;
    if (objection)
      return park(em, recharge, { code: FAILURE_CODES.moved, reason: `${objection}, and the quota was for ${teamId}: refund it` });
    const write = await writeBudget(
      em,
      kms,
      { organizationId, teamId, writer: { id: recharge.id, status: recharge.status } },
      async (live) => {
        await requireOwnStep(em, recharge, live);
        const planned = await quotaWrites.plan(em, recharge, live);
        return {
          ...planned,
          onOver: () => quotaWrites.noteOver(em, recharge, planned),
          onWithoutEffect: () => quotaWrites.noteWithoutEffect(em, recharge, planned),
        };
      },
    ).catch(async (error) => {
      if (error instanceof OverlappingStepError) return { kind: 'overlaps', reason: error.message } as const;
      if (error instanceof BudgetRefusedError) await holdRefused(em, recharge, error);
      throw error;
    });
    if (write.kind !== 'written') return park(em, recharge, { code: FAILURE_CODES[write.kind], reason: write.reason });
    const facts = { quota_before: formatQuota(write.before), quota_after: formatQuota(write.after) };
    const { succeeded, closed } = await em.transactional(async (tx) => {
      const succeeded = await recharges.move(tx, recharge, { to: 'succeeded', transfer: 'grant', changes: { writeUntil: null }, facts });
      await releaseRefused(tx, recharge);
      return { succeeded, closed: await webhookEvents.close(tx, recharge.eventId, 'succeeded') };
    });
    countClosed({ log, metrics }, { eventId: recharge.eventId, outcome: 'succeeded' }, closed);
    return { ...granted(succeeded), isEventClosed: true };
  };
}

const FAILURE_CODES = { edited: 'foreign_budget_edit', overlaps: 'overlapping_step', moved: 'team_of_another' } as const;

/**
 * Only one that was entered again, or that a person grants because its refund has failed, can be of a team that its
 * organization has no more: while one is open, `organizations.change` moves none.
 */
function mayHaveMoved({ timeline }: Recharge): boolean {
  return timeline.some(({ restored, resolution }) => restored !== undefined || resolution === 'grant');
}

/**
 * Quota for a team that the organization has left is of no use to whoever has paid for it, and nobody watches that budget.
 * One that was entered again may have raised it before it was lost, and only finds that.
 */
async function whyLeft(em: EntityManager, { organizationId, litellmTeamId, timeline }: Recharge): Promise<string | null> {
  if (!timeline.some(({ resolution }) => resolution === 'grant')) return null;
  const { litellmTeamId: present } = await organizations.get(em, organizationId);
  return present === litellmTeamId ? null : `organization ${organizationId} has left team ${litellmTeamId}, and has ${present} by now`;
}

async function park(em: EntityManager, recharge: Recharge, { code, reason }: { code: string; reason: string }): Promise<QuotaResult> {
  await recharges.move(em, recharge, {
    to: 'needs_attention',
    changes: { failureCode: code, failureMessage: reason },
    facts: { reason },
  });
  return { kind: 'needs_attention', reason };
}

/** LiteLLM shows one raise, and two recharges have made that step. */
class OverlappingStepError extends Error {
  override name = 'OverlappingStepError';
}

/**
 * Two recharges can be planned from overlapping budgets: a database that was restored to before the first has not
 * known of it when it planned the second. One raise in LiteLLM proves only one of them. Looked at before a write is
 * noted, so that an attempt that ends in between is followed by one that looks again.
 *
 * @param live the budget that LiteLLM shows.
 * @throws OverlappingStepError
 */
async function requireOwnStep(em: EntityManager, recharge: Recharge, live: QuotaMicros): Promise<void> {
  if (live !== recharge.quotaAfter) return;
  const other = await quotaWrites.unwrittenOverlap(em, recharge);
  if (!other) return;
  const step = `from ${formatQuota(other.before)} to ${formatQuota(other.after)}`;
  throw new OverlappingStepError(
    `max_budget is ${formatQuota(live)} already, and recharge ${other.id} has made the step ${step}: LiteLLM shows one raise for the money of two`,
  );
}

/** Before the refund: nobody else is charged for a raise that LiteLLM refuses. */
async function holdRefused(
  em: EntityManager,
  { id, organizationId, litellmTeamId }: Recharge,
  { message, isForbidden }: BudgetRefusedError,
) {
  const advice = isForbidden
    ? 'give the user that KMS_API_KEY belongs to the role proxy_admin, then look with bill doctor'
    : `look at the limits of team ${litellmTeamId} in LiteLLM`;
  await holds.open(em, {
    scope: isForbidden ? 'service' : 'organization',
    subject: isForbidden ? '' : organizationId,
    reason: 'raise_refused',
    detail: `LiteLLM refuses to raise the budget of team ${litellmTeamId}: ${message}: ${advice}`,
    openedBy: id,
    organizationId,
  });
}

/** The best probe is a raise that LiteLLM takes. */
async function releaseRefused(tx: EntityManager, { id, organizationId }: Recharge): Promise<void> {
  const release = { by: id, reason: 'LiteLLM has taken a raise' };
  const reasons = ['raise_refused'] as const;
  await holds.releaseEachOf(
    tx,
    [
      { scope: 'service', subject: '', reasons },
      { scope: 'organization', subject: organizationId, reasons },
    ],
    release,
  );
}

function granted({ quotaBefore, quotaAfter }: Recharge): Extract<QuotaResult, { kind: 'granted' }> {
  return { kind: 'granted', before: shown(quotaBefore), after: shown(quotaAfter) };
}

/** Without a plan a person has accepted it before anything was written. */
function shown(quota: QuotaMicros | null | undefined): string {
  return quota === null || quota === undefined ? 'unknown' : formatQuota(quota);
}
