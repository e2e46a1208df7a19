/** A new version of the workflow code while runs are under way. */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { bundleWorkflows } from '../../src/temporal/workflow-bundle.ts';
import { RECHARGED } from '../support/books.ts';
import { expectChargedOnce } from '../support/expectations.ts';
import { World } from '../support/world.ts';

/** The present workflows and what a deploy may add to them. */
const OTHER_WORKFLOWS = fileURLToPath(new URL('../replay/variants/patched.ts', import.meta.url));

let world: World;
beforeAll(async () => {
  world = await World.start({ STRIPE_WEBHOOK_SECRETS: 'whsec_signs_the_events' });
});
afterAll(() => world.close());

test('case 52: a worker with other, compatible code takes over a run that waits for a bank: it goes on in it, one charge', async () => {
  const organization = await world.organization({ card: 'pm_usBankAccount' });
  const { eventId, intentId } = await world.rechargeIs(await world.accepted(organization), 'processing');

  await world.stopWorker();
  await world.stripeKnob(`payment_intents/${intentId}/settle`, { outcome: 'succeeded' });
  await world.startWorker({}, await bundleWorkflows(OTHER_WORKFLOWS));

  expect(await world.closed(eventId)).toEqual(RECHARGED);
  await expectChargedOnce(world, organization);
  const handle = await world.runOf(eventId);
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
});
