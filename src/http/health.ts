/** `/health` and `/ready` */
import express, { type Router } from 'express';
import { withDeadline } from '../deadline.ts';

/** Round trip to a dependency in milliseconds; throws when it cannot be used. */
export type Probe = () => Promise<number>;
export type Probes = Record<'database' | 'temporal' | 'kms' | 'stripe', Probe>;

type Reading = { status: 'ok'; latency_ms: number } | { status: 'failing'; reason: string };

/** A probe that takes longer counts as failed. */
const PROBE_DEADLINE_MS = 3_000;
/** Answers are remembered this long, so that eager probing does not use up Stripe's rate limit. */
const REMEMBER_MS = 5_000;

export function healthRoutes(probes: Probes): Router {
  const router = express.Router();
  const remembered = new Map<string, { at: number; reading: Promise<Reading> }>();

  router.get('/health', (_request, response) => {
    response.json({ status: 'ok' });
  });

  // Ingest needs the database and nothing else: what is accepted while the others are away is handled when they are back.
  router.get('/ready', async (_request, response) => {
    const names = Object.keys(probes) as (keyof Probes)[];
    const readings = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await read(name)] as const)));
    const ready = readings['database']?.status === 'ok';
    response.status(ready ? 200 : 503).json({ status: ready ? 'ready' : 'not_ready', dependencies: readings });
  });

  function read(name: keyof Probes): Promise<Reading> {
    const last = remembered.get(name);
    if (last && Date.now() - last.at < REMEMBER_MS) return last.reading;
    const reading = take(probes[name]);
    remembered.set(name, { at: Date.now(), reading });
    return reading;
  }

  return router;
}

async function take(probe: Probe): Promise<Reading> {
  try {
    return { status: 'ok', latency_ms: Math.round(await withDeadline(probe(), PROBE_DEADLINE_MS)) };
  } catch (error) {
    return { status: 'failing', reason: (error as Error).message.split('\n')[0] ?? 'unknown' };
  }
}
