/** `/health` and `/ready` */
import express, { type Router } from 'express';
import type { HttpDependencies, Probes } from './dependencies.ts';
import { readingOf } from './readings.ts';

export function healthRoutes({ probes }: Pick<HttpDependencies, 'probes'>): Router {
  const router = express.Router();

  router.get('/health', (_request, response) => {
    response.json({ status: 'ok' });
  });

  // Ingest needs only the database: what is accepted while another dependency is unavailable, or no worker runs, is
  // handled once it is there again. So this is 200, and says `degraded`.
  router.get('/ready', async (_request, response) => {
    const names = Object.keys(probes) as (keyof Probes)[];
    const dependencies = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await readingOf(probes[name])] as const)));
    const takesAlerts = dependencies['database']?.status === 'ok';
    const isWhole = names.every((name) => dependencies[name]?.status === 'ok');
    response.status(takesAlerts ? 200 : 503).json({ status: isWhole ? 'ready' : takesAlerts ? 'degraded' : 'not_ready', dependencies });
  });

  return router;
}
