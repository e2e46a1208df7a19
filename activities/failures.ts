/**
 * The boundary between our errors and Temporal's: the one place where an error becomes an ApplicationFailure.
 *
 * Whatever an activity throws is kept in workflow history for weeks, so only a type and a sentence pass: an
 * AxiosError carries the Authorization header, a database error the statement with its parameters.
 */
import { ApplicationFailure } from '@temporalio/activity';
import { describeDatabaseError, isDatabaseError, isDatabaseOutage } from '../src/database/errors.ts';
import { UnexpectedStatusError } from '../src/database/recharges.ts';
import { FAILURE } from '../src/domain/failures.ts';
import { KmsError, type KmsErrorKind } from '../src/kms/errors.ts';
import { PaymentsError, type PaymentsErrorKind } from '../src/payments/errors.ts';
import { BudgetRefusedError } from './budget-write.ts';

const KMS_FAILURES: Readonly<Record<KmsErrorKind, string>> = {
  not_found: FAILURE.kmsTeamNotFound,
  conflict: FAILURE.kmsConflict,
  invalid: FAILURE.kmsInvalid,
  forbidden: FAILURE.kmsForbidden,
  unauthenticated: FAILURE.kmsUnauthenticated,
  unavailable: FAILURE.kmsUnavailable,
  unknown_outcome: FAILURE.kmsUnknownOutcome,
};

const STRIPE_FAILURES: Readonly<Record<PaymentsErrorKind, string>> = {
  key: FAILURE.stripeKeyRefused,
  busy: FAILURE.stripeBusy,
  card: FAILURE.stripeUnavailable,
  refused: FAILURE.stripeUnavailable,
  unknown: FAILURE.stripeUnavailable,
};

/** Whether a failure is retried is the workflow's decision, beside its proxies. */
export function toApplicationFailure(error: unknown): ApplicationFailure {
  if (error instanceof ApplicationFailure) return error;
  if (error instanceof KmsError) return ApplicationFailure.create({ message: error.message, type: KMS_FAILURES[error.kind] });
  if (error instanceof UnexpectedStatusError) return ApplicationFailure.create({ message: error.message, type: FAILURE.unexpectedStatus });
  if (error instanceof PaymentsError) return ApplicationFailure.create({ message: error.message, type: STRIPE_FAILURES[error.kind] });
  if (error instanceof BudgetRefusedError) return ApplicationFailure.nonRetryable(error.message, FAILURE.budgetRefused);
  if (isDatabaseError(error)) {
    const { code = 'no code' } = error as { code?: string };
    // Of what PostgreSQL refuses the code alone: its sentence may quote a value.
    const message = isDatabaseOutage(error) ? describeDatabaseError(error) : `PostgreSQL: ${(error as Error).name} (${code})`;
    return ApplicationFailure.create({ message, type: FAILURE.databaseUnavailable });
  }
  // A programming error: retried, since a deploy can mend it while the run waits. Its message is ours.
  return ApplicationFailure.create({ message: String(error), type: (error as Error)?.name ?? 'Error' });
}
