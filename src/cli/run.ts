/**
 * The commands that run one part of the service, configured by the environment. Each imports its part alone: the API
 * needs no worker of Temporal, which takes a while to load.
 */
import type { Config } from '../config.ts';
import { createLogger, type Logger } from '../observability/log.ts';
import { collectStartGarbage } from '../young-generation.ts';
import { beginTracing, endTracingAfter } from './begin-tracing.ts';
import { databasePlace } from './database-place.ts';
import { MIGRATION_PARTS, migrate } from './migrate.ts';
import { placeText } from './places.ts';
import { configOrExit, partsOrExit, stopOnSignal } from './process.ts';
import { databaseOrExit, exitOnTlsRefused } from './startup-check.ts';

export async function serve(): Promise<void> {
  const { startApi } = await import('../api.ts');
  const config = configOrExit();
  const log = createLogger(config.logLevel);
  logDatabase(config, log);
  await databaseOrExit(config, log);
  await beginTracing('bill-serve', config, log);
  collectStartGarbage();
  stopOnSignal(endTracingAfter(await startApi(config, log)), () => log.info('stopping'));
}

export async function work(): Promise<void> {
  const [{ startWorker, WORKER_PARTS }, { installTemporalRuntime }] = await Promise.all([
    import('../worker.ts'),
    import('../temporal/worker.ts'),
  ]);
  const config = partsOrExit(WORKER_PARTS);
  const log = createLogger(config.logLevel);
  logDatabase(config, log);
  const sdkMetrics = await installTemporalRuntime(log, { hasMetrics: config.metrics.port !== 0 });
  await databaseOrExit(config, log);
  await beginTracing('bill-worker', config, log);
  const failed = (error: Error) => {
    log.fatal({ reason: error.message }, 'the worker has failed');
    process.exit(1);
  };
  collectStartGarbage();
  const worker = await startWorker(config, log, { failed, sdkMetrics });
  stopOnSignal(endTracingAfter(worker), () => log.info('stopping'));
}

export async function migrateOnce(): Promise<void> {
  const config = partsOrExit(MIGRATION_PARTS);
  const log = createLogger(config.logLevel);
  logDatabase(config, log);
  try {
    await migrate(config, log);
  } catch (error) {
    exitOnTlsRefused(error);
    throw error;
  }
}

/** Which database is used, and who says so. */
function logDatabase({ databaseUrl }: Pick<Config, 'databaseUrl'>, log: Logger): void {
  const place = databasePlace(databaseUrl);
  log.info({ database: placeText(place) }, 'the database that is used');
  if (place.elsewhere !== null) log.warn({ database: place.elsewhere }, 'the npm start that runs here uses another database');
}
