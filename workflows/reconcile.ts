/**
 * Compares the database with itself, and with what Stripe and LiteLLM show: by schedule every hour, and by hand.
 * With `fix` it resumes what is safe to resume; the rest is reported with what was seen, what was expected and the
 * command that settles it. A stage that fails is a finding, and the others go on.
 */
import {
  continueAsNew,
  isCancellation,
  log,
  patched,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { BulkActivities } from '../activities/index.ts';
import { type Finding, findingOf } from '../src/domain/finding.ts';
import { type ReconcileInput, type ReconcileProgress, type ReconcileResult, reconcileProgress } from './contract.ts';
import { COUNT, FLAG, having, LIST, progressOf, readInput, TEXT } from './input.ts';
import { HEARTBEAT_TIMEOUT } from './liveness.ts';
import { BULK_QUEUE } from './queues.ts';
import { reasonOf } from './reason.ts';

/** Recharges settle within days; older intents were compared more than a hundred times. */
const LOOK_BACK_MS = 7 * 24 * 60 * 60 * 1000;
/** More are logged, not kept: the next run finds them again. */
const MAX_FINDINGS = 200;

// Idempotent: reads, and starts runs that may be started twice. A page that cannot be read for ten minutes is
// left to the next run.
const { checkBooks, resumeIdle, compareIntents, restoreLost, compareBudgets } = proxyActivities<BulkActivities>({
  taskQueue: BULK_QUEUE,
  startToCloseTimeout: '5 minutes',
  heartbeatTimeout: HEARTBEAT_TIMEOUT,
  scheduleToCloseTimeout: '10 minutes',
  retry: { initialInterval: '1 second', maximumInterval: '1 minute' },
});

// What is compared next is undefined before the first page, so it may be missing.
const PROGRESS = progressOf({
  result: having({ intents: COUNT, organizations: COUNT, findings: LIST }),
  since: TEXT,
  lost: LIST,
});

export async function reconcileWorkflow(input?: ReconcileInput): Promise<ReconcileResult> {
  const { fix = false, progress } = readInput<ReconcileInput>(input, { fix: FLAG, progress: PROGRESS });
  const begun: ReconcileProgress = progress ?? {
    result: { intents: 0, organizations: 0, findings: [] },
    since: new Date(workflowInfo().startTime.getTime() - LOOK_BACK_MS).toISOString(),
    intents: undefined,
    lost: [],
    budgets: undefined,
  };
  const { result } = begun;
  setHandler(reconcileProgress, () => result);
  const note = (findings: Finding[]) => {
    for (const finding of findings) log.warn('reconciliation has found a difference', { ...finding });
    result.findings.push(...findings.slice(0, MAX_FINDINGS - result.findings.length));
    setCurrentDetails(`${result.intents} intents and ${result.organizations} organizations compared, ${result.findings.length} findings`);
  };
  /** The result of a stage; undefined when it has failed. */
  const attempt = async <T>(stage: string, work: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await work();
    } catch (error) {
      if (isCancellation(error)) throw error;
      note([findingOf('stage_failed', { subject: stage, organizationId: '', seen: reasonOf(error) })]);
      return undefined;
    }
  };
  /** Temporal keeps a history of bounded length: a long run goes on in another one. */
  const goOn = () =>
    workflowInfo().continueAsNewSuggested ? continueAsNew<typeof reconcileWorkflow>({ fix, progress: begun }) : undefined;

  if (!progress) {
    if (patched('checks-the-books')) note((await attempt('the books', checkBooks)) ?? []);
    note((await attempt('runs that are missing', () => resumeIdle({ fix }))) ?? []);
  }
  while (begun.intents !== null) {
    const { since, intents: after } = begun;
    const page = await attempt('intents', () => compareIntents({ since, fix, ...(after && { after }) }));
    result.intents += page?.compared ?? 0;
    begun.lost.push(...(page?.lost ?? []));
    note(page?.findings ?? []);
    begun.intents = page?.next ?? null;
    await goOn();
  }
  // Stripe lists the newest first; lost recharges are entered in the order in which they happened.
  for (let lost = begun.lost.pop(); lost; lost = begun.lost.pop()) {
    const { intentId } = lost;
    const finding = await attempt(`PaymentIntent ${intentId}`, () => restoreLost({ intentId, fix }));
    note(finding ? [finding] : []);
    await goOn();
  }
  while (begun.budgets !== null) {
    const { budgets: after } = begun;
    const page = await attempt('budgets', () => compareBudgets({ ...(after && { after }) }));
    result.organizations += page?.compared ?? 0;
    note(page?.findings ?? []);
    begun.budgets = page?.next ?? null;
    await goOn();
  }
  return result;
}
