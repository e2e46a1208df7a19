/** Starts the two servers that all integration tests share: a real PostgreSQL and a real Temporal. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type LaunchedServer, launch } from '../../sandbox/launch.ts';
import { Database } from '../../src/database/database.ts';
import { loadWorkflowBundle } from '../../src/temporal/workflow-bundle.ts';
import { createDatabase, TEMPLATE_DATABASE } from './databases.ts';

declare global {
  var sharedServers: LaunchedServer[];
}

export default async function globalSetup(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'bill-test-'));
  const [postgres, temporal] = await Promise.all([
    launch('postgres', { data: join(folder, 'postgres'), port: 0, fsync: 'off' }),
    launch('temporal', { port: 0, 'ui-port': 0 }),
    // Kept for all worlds: each would bundle the same for a second or two of a core.
    loadWorkflowBundle(),
  ]);
  globalThis.sharedServers = [postgres, temporal];
  process.env['TEST_POSTGRES_URL'] = postgres.ready['url'];
  process.env['TEST_TEMPORAL_ADDRESS'] = temporal.ready['address'];
  const database = await Database.open(await createDatabase(TEMPLATE_DATABASE));
  await database.migrate();
  await database.close();
}
