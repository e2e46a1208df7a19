/** `/health` and `/ready` */
import express, { type Router } from 'express';
import type { Probe } from './dependencies.ts';
import { type Reading, readingOf } from './readings.ts';

export type Health = {
  probes: Readonly<Record<string, Probe>>;
  /** Whether the process ends: from SIGTERM on it is not ready. */
  isStopping: () => boolean;
  /** The probes without which the process cannot work. */
  needed?: readonly string[];
};

/** While one of these fails, nothing else is known of the service, and it would be told as a second fault. */
const CAUSES_OF_SERVICE = ['database', 'temporal'];

/** `/health` depends on nothing; `/ready` on what the process needs, and names all that there is. */
export function healthRoutes({ probes, isStopping, needed = ['database'] }: Health): Router {
  const router = express.Router();

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
    const { service, ...others } = Object.fromEntries(
      await Promise.all(names.map(async (name) => [name, await readingOf(probes[name] as Probe)] as const)),
    );
    const isCaused = CAUSES_OF_SERVICE.some((name) => others[name]?.status === 'failing');
    const dependencies: Record<string, Reading> = { ...others, ...(service && !isCaused && { service }) };
    const works = needed.every((name) => dependencies[name]?.status === 'ok');
    const isWhole = Object.values(dependencies).every(({ status }) => status === 'ok');
    response.status(works ? 200 : 503).json({ status: isWhole ? 'ready' : works ? 'degraded' : 'not_ready', dependencies });
  });

  return router;
}
