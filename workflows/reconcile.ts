/**
 * Compares the database with what Stripe and LiteLLM show: by schedule every hour, and by hand. With `fix` it
 * resumes what is safe to resume; the rest is reported with what was seen, what was expected and the command
 * that settles it.
 */
import { log, patched, proxyActivities, setCurrentDetails, setHandler, workflowInfo } from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';
import type { LostIntent } from '../activities/reconcile/types.ts';
import type { Finding } from '../src/domain/finding.ts';
import { type ReconcileInput, type ReconcileResult, reconcileProgress } from './contract.ts';
import { HEARTBEAT_TIMEOUT } from './liveness.ts';

/** Recharges settle within days; older intents were compared more than a hundred times. */
const LOOK_BACK_MS = 7 * 24 * 60 * 60 * 1000;
/** More are logged, not kept: the next run finds them again. */
const MAX_FINDINGS = 200;

// Idempotent: reads, and starts runs that may be started twice. A page that cannot be read for an hour is
// left to the next run.
const { checkBooks, resumeIdle, compareIntents, restoreLost, compareBudgets } = proxyActivities<Activities>({
  startToCloseTimeout: '5 minutes',
  heartbeatTimeout: HEARTBEAT_TIMEOUT,
  scheduleToCloseTimeout: '1 hour',
  retry: { initialInterval: '1 second', maximumInterval: '1 minute' },
});

export async function reconcileWorkflow({ fix = false }: ReconcileInput = {}): Promise<ReconcileResult> {
  const result: ReconcileResult = { intents: 0, organizations: 0, findings: [] };
  setHandler(reconcileProgress, () => result);
  const note = (findings: Finding[]) => {
    for (const finding of findings) log.warn('reconciliation has found a difference', { ...finding });
    result.findings.push(...findings.slice(0, MAX_FINDINGS - result.findings.length));
    setCurrentDetails(`${result.intents} intents and ${result.organizations} organizations compared, ${result.findings.length} findings`);
  };

  if (patched('checks-the-books')) note(await checkBooks());
  note(await resumeIdle({ fix }));

  const since = new Date(workflowInfo().startTime.getTime() - LOOK_BACK_MS).toISOString();
  const lost: LostIntent[] = [];
  for (let after: string | null | undefined; after !== null; ) {
    const page = await compareIntents({ since, fix, ...(after && { after }) });
    result.intents += page.compared;
    lost.push(...page.lost);
    note(page.findings);
    after = page.next;
  }
  // Stripe lists the newest first; lost recharges are entered in the order in which they happened.
  for (const { intentId } of lost.toReversed()) note([await restoreLost({ intentId, fix })]);

  for (let after: string | null | undefined; after !== null; ) {
    const page = await compareBudgets({ ...(after && { after }) });
    result.organizations += page.compared;
    note(page.findings);
    after = page.next;
  }
  return result;
}
