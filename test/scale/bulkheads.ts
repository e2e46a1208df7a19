/**
 * `npm run measure:bulkheads`: charges a minute, and seconds from alert to granted quota, while LiteLLM answers and
 * while it hangs for bulk work, with a real API, worker, PostgreSQL and Temporal. The second row is to be like the
 * first.
 *
 * -- --charges 300  in each of the two
 */
import { parseArgs } from 'node:util';
import { LITELLM_CALLS } from '../../src/kms/transport.ts';
import globalSetup from '../support/global-setup.ts';
import globalTeardown from '../support/global-teardown.ts';
import { hangBulkWork } from '../support/hanging-bulk-work.ts';
import { startBill } from '../support/processes.ts';
import { type Organization, World } from '../support/world.ts';

const { values } = parseArgs({ options: { charges: { type: 'string', default: '300' } } });
const charges = Number(values.charges);

/** Alerts that wait for their charge at once. */
const AT_ONCE = 8;

await globalSetup();
const world = await World.create();
const [api, worker] = await Promise.all([startBill('serve', world.env), startBill('worker', world.env)]);
world.apiUrl = `http://127.0.0.1:${api.ready.port}`;

console.log(
  '| LiteLLM | charges | seconds | charges a minute | median s | slowest s | calls of bulk work that hung |\n|---|---|---|---|---|---|---|',
);
await measured('answers', async () => 0);
const hanging = await hangBulkWork(world);
await hanging.fault.struck(LITELLM_CALLS.bulk.atOnce);
await measured('hangs for bulk work', () => hanging.fault.strikes());
await hanging.end();

await Promise.all([api.terminate(), worker.terminate()]);
await world.close();
await globalTeardown();

/** Charges organizations of its own, each once, and prints how fast. */
async function measured(what: string, hung: () => Promise<number>): Promise<void> {
  const organizations: Organization[] = [];
  for (let each = 0; each < charges; each++) organizations.push(await world.organization());
  const before = await hung();
  const took: number[] = [];
  const started = performance.now();
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (let next = organizations.pop(); next; next = organizations.pop()) {
        const alerted = performance.now();
        await world.recharge(next);
        took.push((performance.now() - alerted) / 1000);
      }
    }),
  );
  const seconds = (performance.now() - started) / 1000;
  took.sort((a, b) => a - b);
  const cells = [
    seconds.toFixed(0),
    ((60 * charges) / seconds).toFixed(0),
    took[Math.floor(charges / 2)]?.toFixed(1),
    took.at(-1)?.toFixed(1),
  ];
  console.log(`| ${what} | ${charges} | ${cells.join(' | ')} | ${(await hung()) - before} |`);
}
