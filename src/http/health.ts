/** `/health` and `/ready` */
import express, { type Router } from 'express';
import { withDeadline } from '../deadline.ts';
import type { HttpDependencies, Probe, Probes } from './dependencies.ts';

type Reading = { status: 'ok'; latency_ms: number } | { status: 'failing'; reason: string };

/** A probe that takes longer counts as failed. */
const PROBE_DEADLINE_MS = 3_000;
/** Readings are kept this long, so that frequent probes do not use up Stripe's rate limit. */
const KEEP_READING_MS = 5_000;

export function healthRoutes({ probes }: Pick<HttpDependencies, 'probes'>): Router {
  const router = express.Router();
  const readings = new Map<string, { at: number; reading: Promise<Reading> }>();

  router.get('/health', (_request, response) => {
    response.json({ status: 'ok' });
  });

  // Ingest needs only the database: what is accepted while another dependency is unavailable, or no worker runs, is
  // handled once it is there again. So this is 200, and says `degraded`.
  router.get('/ready', async (_request, response) => {
    const names = Object.keys(probes) as (keyof Probes)[];
    const dependencies = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await read(name)] as const)));
    const takesAlerts = dependencies['database']?.status === 'ok';
    const isWhole = names.every((name) => dependencies[name]?.status === 'ok');
    response.status(takesAlerts ? 200 : 503).json({ status: isWhole ? 'ready' : takesAlerts ? 'degraded' : 'not_ready', dependencies });
  });

  function read(name: keyof Probes): Promise<Reading> {
    const last = readings.get(name);
    if (last && Date.now() - last.at < KEEP_READING_MS) return last.reading;
    const reading = readingOf(probes[name]);
    readings.set(name, { at: Date.now(), reading });
    return reading;
  }

  return router;
}

async function readingOf(probe: Probe): Promise<Reading> {
  try {
    return { status: 'ok', latency_ms: Math.round(await withDeadline(probe(), PROBE_DEADLINE_MS)) };
  } catch (error) {
    return { status: 'failing', reason: (error as Error).message.split('\n')[0] ?? 'unknown' };
  }
}
