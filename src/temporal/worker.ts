/** The Temporal workers of a process: one of the task queue, and beside it one of charges and one of bulk work. */
import { type AddressInfo, createServer } from 'node:net';
import { ApplicationFailure } from '@temporalio/common';
import { DefaultLogger, type LogEntry, NativeConnection, Runtime, Worker, type WorkflowBundle } from '@temporalio/worker';
import type { ActivityDependencies } from '../../activities/dependencies.ts';
import { bulkActivities, chargeActivities, moneyActivities } from '../../activities/index.ts';
import { HEARTBEAT_MS, superviseActivity } from '../../activities/interceptor.ts';
import { watchKeys } from '../../activities/key-watch.ts';
import { beginCounting, observe } from '../../activities/observe.ts';
import { ShortSteps, takeShortSteps } from '../../activities/short-steps.ts';
import { traceActivity } from '../../activities/trace.ts';
import { bulkQueueOf, chargeQueueOf } from '../../workflows/contract.ts';
import type { TemporalConfig } from '../config.ts';
import type { Lane } from '../gate.ts';
import type { Logger } from '../observability/log.ts';
import { addressOf } from './connection.ts';
import { traceSinks } from './tracing.ts';

/** Activities that run at once; each uses at most one of its pool's connections at a time. */
const MAX_CONCURRENT_ACTIVITIES = 40;
/**
 * Workflow tasks that are worked on at once, each with its short step. What is beyond waits at Temporal, where waiting
 * costs nothing: with forty in one process every step took so long that each was left to an activity, 36 events of the
 * history rather than 24. A healthy step takes 30 ms, so twenty are more than two cores can do, and while LiteLLM takes half
 * a second they still do forty steps a second.
 */
const MAX_CONCURRENT_WORKFLOW_TASKS = 20;
/**
 * Long polls that wait for them, half of them for new runs. Each holds one of the twenty for itself while it waits: of the
 * SDK's own ten, eight would, for runs under way that there may be none of, and two would be left for all new runs.
 */
const WORKFLOW_POLLS = 4;
const SHARE_FOR_NEW_RUNS = 0.5;
/**
 * The same of bulk work. The schedules run three, one each; the others are for runs by hand. Each works on five items
 * at a time at most (`sideBySide`): 40 calls for the gate of LiteLLM, which takes 50, and 40 statements that wait for
 * a pool of their own, milliseconds each.
 */
const MAX_CONCURRENT_BULK_ACTIVITIES = 8;
/** Long polls that wait for them; a few find all that the schedules start. */
const BULK_POLLS = 2;
/** Between two attempts of a worker to connect. */
const RECONNECT_MS = 2_000;
/**
 * A run whose worker has died moves to another one after this; the default of ten seconds is long for a team
 * that waits.
 */
const STICKY_TIMEOUT = '3 seconds';
/** After SIGTERM, running activities may take this long to finish. A charge's one call takes at most 25 s. */
const SHUTDOWN_GRACE = '30 seconds';
/** After this the process ends even if activities still run; Temporal gives them to another worker. */
const SHUTDOWN_FORCE = '45 seconds';

/** Somebody may take a free port before the SDK does. */
const METRICS_ATTEMPTS = 3;

/**
 * `installTemporalLogger`, and the SDK's metrics on a free port of loopback.
 *
 * @returns their address; undefined where they are not wanted, or cannot be shown.
 */
export async function installTemporalRuntime(log: Logger, { hasMetrics }: { hasMetrics: boolean }): Promise<string | undefined> {
  for (let attempt = 0; hasMetrics && attempt < METRICS_ATTEMPTS; attempt++) {
    const address = `127.0.0.1:${await freePort()}`;
    try {
      installTemporalLogger(log, address);
      return address;
    } catch (error) {
      log.warn({ address, reason: (error as Error).message }, 'the Temporal SDK cannot show its metrics there');
    }
  }
  installTemporalLogger(log);
  return undefined;
}

function freePort(): Promise<number> {
  const probe = createServer();
  return new Promise((resolve, reject) => {
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });
}

/**
 * Sends the SDK's own log lines to our logger, and has it show its metrics. Called once in a process, before the first
 * connection.
 *
 * @param metricsAddress where the SDK's metrics are shown, on loopback; see observability/sdk-metrics.ts.
 */
export function installTemporalLogger(log: Logger, metricsAddress?: string): void {
  const levels = { TRACE: 'trace', DEBUG: 'debug', INFO: 'info', WARN: 'warn', ERROR: 'error' } as const;
  Runtime.install({
    logger: new DefaultLogger('INFO', ({ level, message, meta }: LogEntry) => log[levels[level]](loggable(meta), message)),
    // The worker is shut down by its process, after HTTP and before the database.
    shutdownSignals: [],
    ...(metricsAddress && { telemetryOptions: { metrics: sdkMetrics(metricsAddress) } }),
  });
}

/** Named and measured as Prometheus has it: `…_total`, `…_seconds`. */
function sdkMetrics(bindAddress: string) {
  return { prometheus: { bindAddress, countersTotalSuffix: true, unitSuffix: true, useSecondsForDurations: true } };
}

/**
 * The fields of one of the SDK's log lines. Of an error only its name stays, and of our own failures their type
 * and message: those anybody may read (`activities/failures.ts`), any other error may repeat what was sent.
 */
export function loggable({ error, ...fields }: NonNullable<LogEntry['meta']> = {}): Record<string, unknown> {
  if (error instanceof ApplicationFailure) return { ...fields, failure: error.type, reason: error.message };
  return error instanceof Error ? { ...fields, failure: error.name } : fields;
}

/**
 * The connection of a worker. Waits while Temporal is unavailable. @throws the reason of `signal` when it is
 * aborted meanwhile.
 */
export async function connectWorker(temporal: TemporalConfig, log: Logger, signal: AbortSignal): Promise<NativeConnection> {
  for (;;) {
    try {
      return await NativeConnection.connect(temporal.connect.connectionOptions);
    } catch (error) {
      signal.throwIfAborted();
      log.warn(
        { reason: (error as Error).message, address: addressOf(temporal) },
        'Temporal cannot be reached (TEMPORAL_ADDRESS); trying again',
      );
      await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
    }
  }
}

type WorkersOptions = {
  connection: NativeConnection;
  namespace: string;
  taskQueue: string;
  workflowBundle: WorkflowBundle;
  /** Charges a second of all workers of the task queue together. */
  chargesPerSecond: number;
  /** What the activities of each lane work with. What one lane fills up, the other must not wait for. */
  dependencies: Readonly<Record<Lane, ActivityDependencies>>;
};

/**
 * The workers of all task queues, ready to `run()`. The main one also runs charges and bulk work, which in their own
 * lane: versions before CHARGE_QUEUE and BULK_QUEUE have scheduled them there.
 */
export async function createWorkers({
  workflowBundle,
  dependencies,
  taskQueue,
  chargesPerSecond,
  ...temporal
}: WorkersOptions): Promise<Worker[]> {
  const { money, bulk } = dependencies;
  const activities = { ...moneyActivities(money), ...bulkActivities(bulk) };
  beginCounting(money.metrics, Object.keys(activities));
  const main = await Worker.create({
    ...temporal,
    ...supervised(money),
    taskQueue,
    workflowBundle,
    sinks: traceSinks,
    activities,
    stickyQueueScheduleToStartTimeout: STICKY_TIMEOUT,
    maxConcurrentActivityTaskExecutions: MAX_CONCURRENT_ACTIVITIES,
    maxConcurrentWorkflowTaskExecutions: MAX_CONCURRENT_WORKFLOW_TASKS,
    maxConcurrentWorkflowTaskPolls: WORKFLOW_POLLS,
    nonStickyToStickyPollRatio: SHARE_FOR_NEW_RUNS,
  });
  const ofCharges = await Worker.create({
    ...temporal,
    ...supervised(money),
    taskQueue: chargeQueueOf(taskQueue),
    activities: chargeActivities(money),
    maxConcurrentActivityTaskExecutions: MAX_CONCURRENT_ACTIVITIES,
    maxTaskQueueActivitiesPerSecond: chargesPerSecond,
  });
  const ofBulk = await Worker.create({
    ...temporal,
    ...supervised(bulk),
    taskQueue: bulkQueueOf(taskQueue),
    activities: bulkActivities(bulk),
    maxConcurrentActivityTaskExecutions: MAX_CONCURRENT_BULK_ACTIVITIES,
    maxConcurrentActivityTaskPolls: BULK_POLLS,
  });
  return [main, ofCharges, ofBulk];
}

function supervised(dependencies: ActivityDependencies) {
  return {
    // The first one sees what the next one throws.
    interceptors: {
      activity: [traceActivity, observe(dependencies), watchKeys(dependencies), superviseActivity, takeShortSteps(new ShortSteps())],
    },
    maxHeartbeatThrottleInterval: HEARTBEAT_MS,
    shutdownGraceTime: SHUTDOWN_GRACE,
    shutdownForceTime: SHUTDOWN_FORCE,
  };
}
