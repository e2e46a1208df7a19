import * as budgets from '../../src/database/budgets.ts';
import type { EntityManager } from '../../src/database/database.ts';
import type { Reversal } from '../../src/database/entities.ts';
import * as ledger from '../../src/database/ledger.ts';
import * as recharges from '../../src/database/recharges.ts';
import * as reversals from '../../src/database/reversals.ts';
import { formatQuota, type QuotaMicros } from '../../src/domain/money.ts';
import { type BudgetDirection, type RememberedWrite, standingOf, takenBy } from '../../src/domain/reversal-budget.ts';
import { KmsError } from '../../src/kms/errors.ts';
import { PaymentsError } from '../../src/payments/errors.ts';
import { BudgetRefusedError, writeBudget } from '../budget-write.ts';
import type { ActivityDependencies } from '../dependencies.ts';

export type ChangeBudgetDependencies = Pick<ActivityDependencies, 'database' | 'kms' | 'payments' | 'log'>;
type Tools = Omit<ChangeBudgetDependencies, 'database'> & { em: EntityManager };

/**
 * Writes the budget that follows a reversal's money.
 *
 * @returns false when there is nothing to record: the reversal is parked for a person, or another attempt has
 *   settled it.
 * @throws KmsError, PaymentsError and the failures of `writeBudget` where the next attempt may do better.
 */
export async function changeBudget(tools: Tools, reversal: Reversal, direction: BudgetDirection): Promise<boolean> {
  const { em, kms } = tools;
  const { organizationId, litellmTeamId: teamId, id } = reversal;
  const writer: budgets.BudgetWriter = { id, status: direction === 'take' ? 'open' : 'taken_back' };
  const objection = await budgets.objectionTo(em, { id: organizationId, teamId });
  if (objection) {
    await reversals.park(em, reversal, `${objection}: settle with both whose quota it is, then accept`);
    return false;
  }
  // Before the budget is claimed: a Stripe that does not answer holds up no recharge that waits for it.
  const note = await readNote(tools, reversal, direction);
  try {
    const write = await writeBudget(em, kms, { organizationId, teamId, writer }, (live) => plan(tools, reversal, note, live));
    if (write.kind === 'edited') await reversals.park(em, reversal, write.reason);
    return write.kind === 'written';
  } catch (error) {
    if (error instanceof reversals.ReversalSettledError) return false;
    if (error instanceof DoubtfulWriteError) {
      await reversals.park(em, reversal, error.message);
      return false;
    }
    if (error instanceof BudgetRefusedError) {
      const what =
        direction === 'take'
          ? `${formatQuota(reversal.quota)} quota cannot be taken back`
          : `${formatQuota(takenBy(reversal))} quota cannot be given back`;
      await reversals.park(em, reversal, `${what}: ${error.message}`);
      return false;
    }
    // The team is deleted: there is nothing to take back, and nothing to give the quota to.
    if (!(error instanceof KmsError) || error.kind !== 'not_found') throw error;
    if (direction === 'take') return true;
    const quota = formatQuota(takenBy(reversal));
    await reversals.park(em, reversal, `the money of ${quota} quota has come back, but the team is gone from LiteLLM`);
    return false;
  }
}

/** Nobody can tell whether a write from before a restore of the database was made. */
class DoubtfulWriteError extends Error {
  override name = 'DoubtfulWriteError';

  constructor({ before, after }: RememberedWrite) {
    const write = `a write of the budget from ${formatQuota(before)} to ${formatQuota(after)}`;
    super(`${write} began before the database was restored, and another has changed it since: look at the budget in LiteLLM, then accept`);
  }
}

/** Where a write is noted at Stripe, and what is noted of it there: undefined for one that was never begun. */
type Note = { intentId: string; direction: BudgetDirection; remembered: RememberedWrite | undefined };

/** @throws PaymentsError */
async function readNote(tools: Tools, { id: reversalId, rechargeId }: Reversal, direction: BudgetDirection): Promise<Note> {
  const { paymentIntentId: intentId } = await recharges.get(tools.em, rechargeId);
  if (!intentId) throw new Error(`recharge ${rechargeId} has a reversal, and no PaymentIntent`);
  const reading = tools.payments.rememberedWrite(intentId, { reversalId, direction });
  return { intentId, direction, remembered: await reading.catch(unlessRefused(tools, reversalId)) };
}

/**
 * The budgets around the write. They are noted at Stripe before it is sent: a database that is restored to before the
 * write learns there that it was begun, and LiteLLM tells whether it was made.
 *
 * @throws DoubtfulWriteError, PaymentsError
 */
async function plan(tools: Tools, reversal: Reversal, { intentId, direction, remembered }: Note, live: QuotaMicros) {
  const { em, payments } = tools;
  const { id: reversalId, organizationId, litellmTeamId: teamId } = reversal;
  const isPlanned = typeof (direction === 'take' ? reversal.takenBefore : reversal.givenBefore) === 'number';
  const standing =
    remembered && !isPlanned
      ? standingOf(remembered, { live, since: await ledger.stepsSince(em, { organizationId, teamId }, remembered.upon) })
      : undefined;
  if (remembered && standing === 'doubtful') throw new DoubtfulWriteError(remembered);
  const begun = standing === 'outstanding' ? undefined : remembered;
  const planned = await reversals.planWrite(em, reversal, direction, { live, remembered: begun });
  if (!begun) {
    const write = { ...planned, upon: await ledger.lastMover(em, organizationId) };
    await payments.rememberWrite(intentId, { reversalId, direction }, write).catch(unlessRefused(tools, reversalId));
  }
  return planned;
}

/** The note is for a restore that may never be; the money has gone now. So the quota follows it without a note too. */
function unlessRefused({ log }: Tools, reversalId: string) {
  return (error: unknown): undefined => {
    if (!(error instanceof PaymentsError) || error.kind !== 'refused') throw error;
    log.warn({ reversalId, reason: error.message }, 'Stripe does not take or show the note of a budget write');
  };
}
