/** `/health` and `/ready` */
import express, { type Router } from 'express';
import { withDeadline } from '../deadline.ts';
import type { Probe } from './dependencies.ts';

type Reading = { status: 'ok'; latency_ms: number } | { status: 'failing'; reason: string };

/** A probe that takes longer counts as failed. */
const PROBE_DEADLINE_MS = 3_000;
/** Readings are kept this long, so that frequent probes do not use up Stripe's rate limit. */
const KEEP_READING_MS = 5_000;

export type Health = {
  probes: Readonly<Record<string, Probe>>;
  /** Whether the process ends: from SIGTERM on it is not ready. */
  isStopping: () => boolean;
  /** The probes without which the process cannot work. */
  needed?: readonly string[];
};

/** `/health` depends on nothing; `/ready` on what the process needs, and names all that there is. */
export function healthRoutes({ probes, isStopping, needed = ['database'] }: Health): Router {
  const router = express.Router();
  const readings = new Map<string, { at: number; reading: Promise<Reading> }>();

  router.get('/health', (_request, response) => {
    response.json({ status: 'ok' });
  });

  // Ingest needs only the database: what is accepted while another dependency is unavailable, or no worker runs, is
  // handled once it is there again. So this is 200, and says `degraded`.
  router.get('/ready', async (_request, response) => {
    if (isStopping()) {
      response.status(503).json({ status: 'stopping' });
      return;
    }
    const names = Object.keys(probes);
    const dependencies = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await read(name)] as const)));
    const works = needed.every((name) => dependencies[name]?.status === 'ok');
    const isWhole = names.every((name) => dependencies[name]?.status === 'ok');
    response.status(works ? 200 : 503).json({ status: isWhole ? 'ready' : works ? 'degraded' : 'not_ready', dependencies });
  });

  function read(name: string): Promise<Reading> {
    const last = readings.get(name);
    if (last && Date.now() - last.at < KEEP_READING_MS) return last.reading;
    const reading = readingOf(probes[name] as Probe);
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
