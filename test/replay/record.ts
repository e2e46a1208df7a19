/**
 * Records the history of every branch that has none yet, from a real run of it, into `histories/`. One that
 * is there stays: it stands for the runs that are under way when the next version is deployed. See
 * docs/deploying-workflows.md.
 */
import { Client, Connection } from '@temporalio/client';
import globalSetup from '../support/global-setup.ts';
import globalTeardown from '../support/global-teardown.ts';
import { startSkippingWorld } from '../support/skipping-world.ts';
import { World } from '../support/world.ts';
import { BRANCHES, type Branch, LONG_BRANCHES, type Stage, tidy } from './branches.ts';
import { recordedBranches, writeHistory } from './histories.ts';

/** Many times what the longest branch takes. */
const RUN_LIMIT_MS = 60_000;

const recorded = new Set(recordedBranches());

function missing(branches: Record<string, Branch>): [string, Branch][] {
  return Object.entries(branches).filter(([name]) => !recorded.has(name));
}

async function record(branches: [string, Branch][], stage: Stage): Promise<void> {
  for (const [name, branch] of branches) {
    const workflowId = await branch(stage);
    const handle = stage.client.workflow.getHandle(workflowId);
    await stage.world.eventually(
      async () => (await handle.describe()).status.name !== 'RUNNING',
      `the end of ${workflowId} for ${name}`,
      RUN_LIMIT_MS,
    );
    await tidy(stage.world);
    const history = await handle.fetchHistory();
    writeHistory(name, history);
    console.log(`${name}: ${history.events?.length} events`);
  }
}

await globalSetup();
if (missing(BRANCHES).length > 0) {
  const world = await World.start({ STRIPE_WEBHOOK_SECRETS: 'whsec_signs_the_events' });
  const client = new Client({ connection: await Connection.connect({ address: world.env['TEMPORAL_ADDRESS'] ?? '' }) });
  await record(missing(BRANCHES), { world, client, pass: () => Promise.reject(new Error('here time does not pass')) });
  await client.connection.close();
  await world.close();
}
if (missing(LONG_BRANCHES).length > 0) {
  const { world, temporal, close } = await startSkippingWorld();
  const pass: Stage['pass'] = (milliseconds) => temporal.sleep(milliseconds);
  await record(missing(LONG_BRANCHES), { world, client: temporal.client, pass });
  await close();
}
await globalTeardown();
