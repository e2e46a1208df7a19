/** The listener of its own that a process has for its metrics: `/metrics`, `/health`, `/ready`. */
import type { Server } from 'node:http';
import express from 'express';
import type { Logger } from '../observability/log.ts';
import type { Metrics } from '../observability/metrics.ts';
import { listen } from './app.ts';
import { type Health, healthRoutes } from './health.ts';

export type MetricsListener = { port: number; close: () => Promise<void> };

type Options = { metrics: Metrics; health: Health; host: string /** 0: none. */; port: number; log: Logger };

/**
 * Listens for scrapes and probes. A port that is busy is logged, and the process goes on: charges do not depend on who
 * watches them, and Prometheus says `up == 0`.
 */
export async function listenForMetrics({ metrics, health, host, port, log }: Options): Promise<MetricsListener | undefined> {
  if (port === 0) return undefined;
  metrics.watchProcess();
  const app = express();
  app.disable('x-powered-by');
  app.use(healthRoutes(health));
  app.get('/metrics', async (_request, response) => {
    response.set('Content-Type', metrics.contentType).send(await metrics.page());
  });
  try {
    const server = await listen(app, host, port);
    log.info({ host, metrics_port: port }, 'metrics are shown');
    return { port, close: () => closed(server) };
  } catch (error) {
    log.error({ host, metrics_port: port, reason: (error as Error).message }, 'no metrics are shown: METRICS_PORT cannot be listened on');
    return undefined;
  }
}

/** At once: a scrape that is cut off is made again. */
async function closed(server: Server): Promise<void> {
  const closing = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeAllConnections();
  await closing;
}
