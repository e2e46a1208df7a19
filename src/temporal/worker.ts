/** A Temporal worker: runs workflows and activities of one task queue. */
import { ApplicationFailure } from '@temporalio/common';
import { DefaultLogger, type LogEntry, type NativeConnection, Runtime, Worker, type WorkflowBundle } from '@temporalio/worker';
import type { ActivityDependencies } from '../../activities/dependencies.ts';
import { createActivities } from '../../activities/index.ts';
import { superviseActivity } from '../../activities/interceptor.ts';
import { watchKeys } from '../../activities/key-watch.ts';
import type { Logger } from '../observability/log.ts';

/** Activities that run at once; each uses at most one of the pool's 20 connections at a time. */
const MAX_CONCURRENT_ACTIVITIES = 40;
/**
 * A run whose worker has died moves to another one after this; the default of ten seconds is long for a team
 * that waits.
 */
const STICKY_TIMEOUT = '3 seconds';
/** After SIGTERM, running activities may take this long to finish. A charge's one call takes at most 25 s. */
const SHUTDOWN_GRACE = '30 seconds';
/** After this the process ends even if activities still run; Temporal gives them to another worker. */
const SHUTDOWN_FORCE = '45 seconds';

/** Sends the SDK's own log lines to our logger. Called once in a process, before the first connection. */
export function installTemporalLogger(log: Logger): void {
  const levels = { TRACE: 'trace', DEBUG: 'debug', INFO: 'info', WARN: 'warn', ERROR: 'error' } as const;
  Runtime.install({
    logger: new DefaultLogger('INFO', ({ level, message, meta }: LogEntry) => log[levels[level]](loggable(meta), message)),
    // The worker is shut down by its process, after HTTP and before the database.
    shutdownSignals: [],
  });
}

/**
 * The fields of one of the SDK's log lines. Of an error only its name stays, and of our own failures their type
 * and message: those anybody may read (`activities/failures.ts`), any other error may repeat what was sent.
 */
export function loggable({ error, ...fields }: NonNullable<LogEntry['meta']> = {}): Record<string, unknown> {
  if (error instanceof ApplicationFailure) return { ...fields, failure: error.type, reason: error.message };
  return error instanceof Error ? { ...fields, failure: error.name } : fields;
}

type WorkerOptions = {
  connection: NativeConnection;
  namespace: string;
  taskQueue: string;
  workflowBundle: WorkflowBundle;
  dependencies: ActivityDependencies;
};

/** A worker, ready to `run()`. */
export async function createWorker({ dependencies, ...queue }: WorkerOptions): Promise<Worker> {
  return Worker.create({
    ...queue,
    activities: createActivities(dependencies),
    // The first one sees what the next one throws.
    interceptors: { activity: [watchKeys(dependencies), superviseActivity] },
    stickyQueueScheduleToStartTimeout: STICKY_TIMEOUT,
    maxConcurrentActivityTaskExecutions: MAX_CONCURRENT_ACTIVITIES,
    shutdownGraceTime: SHUTDOWN_GRACE,
    shutdownForceTime: SHUTDOWN_FORCE,
  });
}
