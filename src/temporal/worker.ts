/** A Temporal worker: runs workflows and activities of one task queue. */
import { fileURLToPath } from 'node:url';
import {
  bundleWorkflowCode,
  DefaultLogger,
  type LogEntry,
  type NativeConnection,
  Runtime,
  Worker,
  type WorkflowBundle,
} from '@temporalio/worker';
import type { ActivityDependencies } from '../../activities/dependencies.ts';
import { createActivities } from '../../activities/index.ts';
import { superviseActivity } from '../../activities/interceptor.ts';
import type { Logger } from '../observability/log.ts';

/** Activities that run at once; each holds at most one database connection of the pool of 20 at a time. */
const MAX_CONCURRENT_ACTIVITIES = 40;
/** A run whose worker has died goes to another one after this; the default of ten seconds is long for a team that waits. */
const STICKY_TIMEOUT = '3 seconds';
/** How long running activities may finish after SIGTERM. A charge's one call takes at most 25 s. */
const SHUTDOWN_GRACE = '30 seconds';
/** After this the process ends whatever still runs; Temporal gives it to another worker. */
const SHUTDOWN_FORCE = '45 seconds';

/** Sends the SDK's own log lines where ours go. Once a process, before the first connection. */
export function installTemporalLogger(log: Logger): void {
  const levels = { TRACE: 'trace', DEBUG: 'debug', INFO: 'info', WARN: 'warn', ERROR: 'error' } as const;
  Runtime.install({
    logger: new DefaultLogger('INFO', ({ level, message, meta }: LogEntry) => log[levels[level]]({ ...meta, error: undefined }, message)),
    // The worker is shut down by its process, after HTTP and before the database.
    shutdownSignals: [],
  });
}

const WORKFLOWS = fileURLToPath(new URL('../../workflows/index.ts', import.meta.url));

/** Bundles the workflow code. About a second, so done once a process. */
export async function bundleWorkflows(workflowsPath = WORKFLOWS): Promise<WorkflowBundle> {
  return bundleWorkflowCode({
    workflowsPath,
    // Webpack's inventory of modules is of no use to an operator.
    logger: new DefaultLogger('WARN'),
  });
}

/** A worker, ready to `run()`. */
export async function createWorker(
  connection: NativeConnection,
  namespace: string,
  taskQueue: string,
  workflowBundle: WorkflowBundle,
  dependencies: ActivityDependencies,
): Promise<Worker> {
  return Worker.create({
    connection,
    namespace,
    taskQueue,
    workflowBundle,
    activities: createActivities(dependencies),
    interceptors: { activity: [superviseActivity] },
    stickyQueueScheduleToStartTimeout: STICKY_TIMEOUT,
    maxConcurrentActivityTaskExecutions: MAX_CONCURRENT_ACTIVITIES,
    shutdownGraceTime: SHUTDOWN_GRACE,
    shutdownForceTime: SHUTDOWN_FORCE,
  });
}
