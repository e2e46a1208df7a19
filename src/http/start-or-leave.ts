import type { Logger } from '../observability/log.ts';

/**
 * Starts the run that follows from a person's decision. The decision is in the database already, so the
 * request succeeds also when Temporal is unavailable: the hourly reconciliation starts the run then.
 */
export async function startOrLeaveToReconciliation(start: () => Promise<void>, log: Logger): Promise<void> {
  try {
    await start();
  } catch (error) {
    log.warn({ reason: (error as Error).message }, 'no run could be started; reconciliation will start it');
  }
}
