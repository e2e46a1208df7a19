/**
 * A world whose PostgreSQL and Temporal are its own, so that they can stop and start again with all they
 * held.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type LaunchedServer, launch, type ServerName } from '../../sandbox/launch.ts';
import { freePort } from '../../sandbox/ports.ts';
import { Database } from '../../src/database/database.ts';
import { World } from './world.ts';

/** A server that keeps its state and its port over a stop. Both do nothing where there is nothing to do. */
export type StoppableServer = { start: () => Promise<Record<string, string>>; stop: () => Promise<void> };

export type WorldOfItsOwn = { world: World; postgres: StoppableServer; temporal: StoppableServer; close: () => Promise<void> };

/** As `World.create`: the service's processes are the test's to start. */
export async function createWorldOfItsOwn(): Promise<WorldOfItsOwn> {
  const folder = mkdtempSync(join(tmpdir(), 'bill-outage-'));
  const [postgresPort, temporalPort] = [await freePort(), await freePort()];
  const postgres = stoppable('postgres', { data: join(folder, 'postgres'), port: postgresPort });
  const temporal = stoppable('temporal', { db: join(folder, 'temporal.db'), port: temporalPort, 'ui-port': 0 });
  const [{ url = '' }] = await Promise.all([postgres.start(), temporal.start()]);
  const database = await Database.open(url);
  await database.migrate();
  await database.close();
  const world = await World.create({ DATABASE_URL: url, TEMPORAL_ADDRESS: `127.0.0.1:${temporalPort}` });
  return {
    world,
    postgres,
    temporal,
    close: async () => {
      await world.close();
      await Promise.all([postgres.stop(), temporal.stop()]);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function stoppable(name: ServerName, args: Record<string, string | number>): StoppableServer {
  let running: LaunchedServer | undefined;
  return {
    start: async () => {
      running ??= await launch(name, args);
      return running.ready;
    },
    stop: async () => {
      await running?.stop();
      running = undefined;
    },
  };
}
