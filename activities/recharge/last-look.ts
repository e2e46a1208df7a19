/** What stops a charge right before the card is touched. */
import { ApplicationFailure } from '@temporalio/activity';
import * as cardAttempts from '../../src/database/card-attempts.ts';
import type { EntityManager } from '../../src/database/database.ts';
import type { Recharge } from '../../src/database/entities.ts';
import * as organizations from '../../src/database/organizations.ts';
import { paidBy } from '../../src/database/recharge-history.ts';
import * as recharges from '../../src/database/recharges.ts';
import type { Card } from '../../src/domain/card.ts';
import { FAILURE } from '../../src/domain/failures.ts';
import { describeHold } from '../../src/domain/hold.ts';
import { REFUSALS, type Refusal, unfitness, withinLimits } from '../../src/domain/policy.ts';
import { KmsError } from '../../src/kms/errors.ts';
import type { ActivityDependencies } from '../dependencies.ts';

/** What was seen when the recharge was reserved is believed for so long: what LiteLLM said of the team, and the limits. */
const RESERVATION_LASTS_MS = 5_000;

/** `refusal`: the policy's word, where it has one. */
export type Obstacle = { refusal?: Refusal; reason: string };

type Look = { em: EntityManager; kms: ActivityDependencies['kms']; recharge: Recharge };

/**
 * What stops this charge by now, entered as an attempt on the card where nothing does. The reservation may be
 * hours old.
 *
 * @throws a retryable failure while the same card is being charged for another recharge, and KmsError while
 *   LiteLLM cannot be read: who could not be given quota is not charged.
 */
export async function obstacleTo({ em, kms, recharge }: Look, card: Card): Promise<Obstacle | undefined> {
  const reservation = await organizations.ofReservation(em, recharge, RESERVATION_LASTS_MS);
  const { organization, isJustReserved } = reservation;
  if (recharge.source !== 'manual' && !organization.autoRechargeEnabled) return refused('auto_recharge_disabled');
  if (organization.stripeCustomerId !== recharge.stripeCustomerId) return { reason: 'the organization has another customer by now' };
  if (organization.currency !== recharge.currency) return { reason: 'the organization pays in another currency by now' };
  if (organization.blocked) return refused('team_blocked');
  if (!(await isWithinLimits(em, recharge, reservation))) return { reason: 'the limits were lowered after the amount was reserved' };
  const ofTeam = isJustReserved ? undefined : await obstacleOfTeam({ em, kms, recharge });
  if (ofTeam) return ofTeam;
  // Right before the confirm that follows at once, one statement says that the look before the intent was made stands.
  if (recharge.status === 'charging' && (await cardAttempts.stands(em, recharge, card))) return undefined;
  const attempt = await cardAttempts.begin(em, recharge, card);
  if (attempt.kind === 'busy') {
    throw ApplicationFailure.retryable(`the same card is being charged for recharge ${attempt.rechargeId}`, FAILURE.cardBusy);
  }
  return attempt.kind === 'held' ? { refusal: 'held', reason: describeHold(attempt.hold) } : undefined;
}

/**
 * A reservation has counted its amount under the organization's lock. While the settings are those of then, it is still
 * within the limits of the day and the month; one above `max_charge` is looked at anew, because a person approves it.
 */
async function isWithinLimits(
  em: EntityManager,
  recharge: Recharge,
  { organization, isJustReserved, hasSettingsOfThen }: Awaited<ReturnType<typeof organizations.ofReservation>>,
): Promise<boolean> {
  const policy = organizations.policyOf(organization);
  if (isJustReserved && hasSettingsOfThen && recharge.amountMinor <= policy.maxCharge) return true;
  return withinLimits(policy, await paidBy(em, organization.id, { except: recharge.id }), recharge.amountMinor);
}

/** Why quota would help this team no more, or could not be raised as it was decided. */
async function obstacleOfTeam({ em, kms, recharge }: Look): Promise<Obstacle | undefined> {
  try {
    const budget = await kms.teamBudget(recharge.litellmTeamId);
    const unfit = budget.blocked ? 'team_blocked' : unfitness(budget);
    if (unfit) return refused(unfit);
    // Read again: a reversal moves what it was decided on.
    const { quotaBefore } = await recharges.get(em, recharge.id);
    const isEdited = typeof quotaBefore === 'number' && budget.quota !== quotaBefore;
    return isEdited ? { reason: 'max_budget in LiteLLM is not the one that the amount was decided on' } : undefined;
  } catch (error) {
    if (error instanceof KmsError && error.kind === 'not_found') return refused('team_not_found');
    throw error;
  }
}

function refused(refusal: Refusal): Obstacle {
  return { refusal, reason: REFUSALS[refusal] };
}
