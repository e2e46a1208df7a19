/** The PostgreSQL and the Temporal of one environment, on ports that stay the same through a restart. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type LaunchedServer, launch, type ServerName } from '../../sandbox/launch.ts';
import { freePort } from '../../sandbox/ports.ts';
import { Database } from '../../src/database/database.ts';
import type { Servers } from './environment.ts';

/** Starts both, with every migration applied. `stop` ends them and removes what they have kept. */
export async function startServers(): Promise<Servers & { stop: () => Promise<void> }> {
  const folder = mkdtempSync(join(tmpdir(), 'bill-simulation-'));
  const launched = new Map<ServerName, LaunchedServer>();
  const [postgresPort, temporalPort] = [await freePort(), await freePort()];
  const startPostgres = async () => {
    const server = await launch('postgres', { data: join(folder, 'postgres'), port: postgresPort });
    launched.set('postgres', server);
    return server.ready['url'] ?? '';
  };
  const startTemporal = async () => {
    const server = await launch('temporal', { db: join(folder, 'temporal.db'), port: temporalPort, 'ui-port': 0 });
    launched.set('temporal', server);
    return server.ready['address'] ?? '';
  };
  const [databaseUrl, temporalAddress] = await Promise.all([startPostgres(), startTemporal()]);
  const database = await Database.open(databaseUrl);
  await database.migrate();
  await database.close();
  return {
    databaseUrl,
    temporalAddress,
    restart: {
      PostgreSQL: async () => {
        await launched.get('postgres')?.stop();
        await startPostgres();
      },
      Temporal: async () => {
        await launched.get('temporal')?.stop();
        await startTemporal();
      },
    },
    stop: async () => {
      await Promise.all([...launched.values()].map((server) => server.stop()));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
