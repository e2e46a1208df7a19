/** A new version of the workflow code while runs are under way. */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Client, Connection } from '@temporalio/client';
import { bundleWorkflows } from '../../src/temporal/worker.ts';
import { World } from '../support/world.ts';

/** The present workflows and what a deploy may add to them. */
const OTHER_WORKFLOWS = fileURLToPath(new URL('../replay/variants/patched.ts', import.meta.url));

let world: World;
let client: Client;
beforeAll(async () => {
  world = await World.start({ STRIPE_WEBHOOK_SECRETS: 'whsec_signs_the_events' });
  client = new Client({ connection: await Connection.connect({ address: world.env['TEMPORAL_ADDRESS'] ?? '' }) });
}, 60_000);
afterAll(async () => {
  await client.connection.close();
  await world.close();
});

test('case 52: a worker with other, compatible code takes over a run that waits for a bank: it goes on in it, one charge', async () => {
  const organization = await world.organization({ card: 'pm_usBankAccount' });
  const { data } = await world.alert(organization.teamId);
  const intentId = await world.eventually(async () => {
    const query = "select payment_intent_id from recharge where event_id = $1 and status = 'processing'";
    return (await world.sql.query(query, [data.event_id])).rows[0]?.payment_intent_id as string;
  }, 'the recharge is processing');

  await world.stopWorker();
  await world.stripeKnob(`payment_intents/${intentId}/settle`, { outcome: 'succeeded' });
  await world.startWorker({}, await bundleWorkflows(OTHER_WORKFLOWS));

  expect(await world.closed(data.event_id)).toEqual({ outcome: 'recharged', success: true });
  expect(await world.budgetOf(organization.teamId)).toBe(30.5);
  expect(await world.books(organization)).toEqual({ charges: 1, captured: 2050, refunded: 0, granted: 2050, prepaid: 0 });
  const handle = client.workflow.getHandle(`recharge/${data.event_id}`);
  await handle.result();
  // What was added at the end has run, and what was added at the beginning has not: the run was past it.
  const patches = (await handle.fetchHistory()).events?.flatMap(({ markerRecordedEventAttributes: marker }) =>
    marker?.markerName === 'core_patch'
      ? [
          JSON.stringify(
            Object.values(marker.details ?? {}).map(({ payloads }) => payloads?.map(({ data }) => Buffer.from(data ?? []).toString())),
          ),
        ]
      : [],
  );
  expect(patches?.join()).toContain('pause-after');
  expect(patches?.join()).not.toContain('pause-before');
}, 60_000);
