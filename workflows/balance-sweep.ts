/**
 * Reads every balance, by schedule each minute and by hand: the second way to a recharge, beside LiteLLM's
 * alerts. Only the sweep finds a balance of exactly 0, a second crossing within the day for which LiteLLM
 * sends no alert, requests that LiteLLM refused because the rest of the budget was reserved, alerts that were
 * lost, and a team that is about to run out.
 *
 * First it tells what does not settle, which has to be known within minutes and needs no balance.
 */
import { log, patched, proxyActivities, setCurrentDetails, setHandler } from '@temporalio/workflow';
import type { BulkActivities } from '../activities/index.ts';
import type { SweepCounts } from '../activities/sweep/types.ts';
import type { TeamsCursor } from '../activities/team-pages.ts';
import { shortList } from '../src/domain/short-list.ts';
import { type NoInput, sweepProgress } from './contract.ts';
import { readInput } from './input.ts';
import { HEARTBEAT_TIMEOUT } from './liveness.ts';
import { BULK_QUEUE } from './queues.ts';
import { reasonOf } from './reason.ts';

/**
 * A sweep is due each minute. A step that no worker takes within that, as after going back to a version that does
 * not serve BULK_QUEUE, fails, so that the sweep ends and the next one can begin.
 */
const TAKEN_WITHIN = '1 minute';

/** More are in the inbox all the same, but not in the result. */
const MAX_REPORTED = 200;
/** Each sweep finds them again. */
const MAX_UNUSED = 200;
/** The others are counted. */
const MAX_PAUSED = 20;

// Idempotent: reads, and stores an event once. After three attempts the next sweep does the rest, a minute
// later.
const { probeHolds, sweepTeams } = proxyActivities<BulkActivities>({
  taskQueue: BULK_QUEUE,
  scheduleToStartTimeout: TAKEN_WITHIN,
  startToCloseTimeout: '5 minutes',
  heartbeatTimeout: HEARTBEAT_TIMEOUT,
  retry: { initialInterval: '1 second', maximumInterval: '10 seconds', maximumAttempts: 3 },
});

// Idempotent: tells each once. The next sweep tells what this one cannot.
const { tellOverdue } = proxyActivities<BulkActivities>({
  taskQueue: BULK_QUEUE,
  scheduleToStartTimeout: TAKEN_WITHIN,
  startToCloseTimeout: '1 minute',
  heartbeatTimeout: HEARTBEAT_TIMEOUT,
  retry: { initialInterval: '1 second', maximumAttempts: 3 },
});

export async function balanceSweepWorkflow(input?: NoInput): Promise<SweepCounts> {
  readInput<NoInput>(input, {});
  const unused: string[] = [];
  const paused: string[] = [];
  if (patched('tells-what-is-overdue')) {
    await tellOverdue().catch((error) => log.error('what is overdue was not told', { reason: reasonOf(error) }));
  }
  const sum: SweepCounts = {
    pages: 0,
    teams: 0,
    organizations: 0,
    waiting: 0,
    paused,
    unused,
    unreadable: 0,
    failedPages: [],
    reported: [],
  };
  setHandler(sweepProgress, () => sum);
  if (patched('probe-holds')) await probe();
  for (let cursor: TeamsCursor | null = { page: 1, totalPages: 1 }; cursor !== null; ) {
    const { next, ...part } = await sweepTeams.executeWithOptions({ summary: `teams from page ${cursor.page} on` }, [cursor]);
    sum.pages += part.pages;
    sum.teams += part.teams;
    sum.organizations += part.organizations;
    sum.waiting += part.waiting;
    paused.push(...(part.paused ?? []).slice(0, MAX_PAUSED - paused.length));
    unused.push(...(part.unused ?? []).slice(0, MAX_UNUSED - unused.length));
    sum.unreadable += part.unreadable;
    sum.failedPages.push(...part.failedPages);
    sum.reported.push(...part.reported.slice(0, MAX_REPORTED - sum.reported.length));
    for (const reported of part.reported) log.info('the sweep has reported a balance', { ...reported });
    setCurrentDetails(describeSweep(sum));
    cursor = next;
  }
  return sum;
}

/** First, so that what a hold has stopped is reported by this sweep already. A failure waits a minute. */
async function probe(): Promise<void> {
  try {
    const { released } = await probeHolds.executeWithOptions({ summary: 'end the holds whose cause is gone' }, []);
    for (const hold of released) log.info('a hold has ended', { hold });
  } catch (error) {
    log.warn('holds could not be probed', { reason: reasonOf(error) });
  }
}

function describeSweep(sum: SweepCounts): string {
  const { pages, teams, organizations, waiting, paused = [], unused = [], unreadable, failedPages, reported } = sum;
  const lines = [
    `${pages} pages with ${teams} teams, ${organizations} of them ours; ${waiting} pause after failed attempts${paused.length > 0 ? `: ${shortList(paused, waiting)}` : ''}.`,
    unused.length > 0 && `Not charged, because their teams were made for them and never used: ${unused.join(', ')}.`,
    unreadable > 0 && `${unreadable} teams could not be read.`,
    failedPages.length > 0 && `Pages ${failedPages.join(', ')} could not be read: the next sweep tries again.`,
    ...reported.map(
      ({ organizationId, eventType, balance, eventId }) => `- **${organizationId}** ${eventType}: balance ${balance} (${eventId})`,
    ),
  ];
  return lines.filter(Boolean).join('\n\n');
}
