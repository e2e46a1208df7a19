import { withDeadline } from '../deadline.ts';
import type { Logger } from '../observability/log.ts';

/** A start takes milliseconds. `bill` waits 15 s, and a decision may start two runs before it is shown. */
const START_DEADLINE_MS = 3_000;

/**
 * Starts the run that follows from a person's decision. The decision is in the database already, so the
 * request succeeds also when Temporal is unavailable or hangs: the hourly reconciliation starts the run then.
 */
export async function startOrLeaveToReconciliation(start: () => Promise<void>, log: Logger): Promise<void> {
  try {
    await withDeadline(start(), START_DEADLINE_MS);
  } catch (error) {
    log.warn({ reason: (error as Error).message }, 'no run could be started; reconciliation will start it');
  }
}
