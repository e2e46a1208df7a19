/** Traces of a process, from before it does anything until after it has stopped. */
import type { Config } from '../config.ts';
import type { Logger } from '../observability/log.ts';
import { startTracing, stopTracing } from '../observability/tracing.ts';
import type { Running } from '../running.ts';
import { VERSION } from '../version.ts';

/** Begins to trace where the environment names a collector. @param service the name of the process in its traces. */
export async function beginTracing(service: string, { tracing }: Pick<Config, 'tracing'>, log: Logger): Promise<void> {
  const unsent = (reason: string) => log.warn({ reason }, 'spans could not be sent: they are lost');
  if (tracing) await startTracing({ ...tracing, service, version: VERSION, unsent });
}

/** What it does to its end is traced too. */
export function endTracingAfter(running: Running): Running {
  return {
    stop: async () => {
      await running.stop();
      await stopTracing();
    },
  };
}
