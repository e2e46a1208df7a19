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
/** Not measured: a worker that has just started is slow. */
const WARM_UP = 40;

await globalSetup();
const world = await World.create();
const [api, worker] = await Promise.all([startBill('serve', world.env), startBill('worker', world.env)]);
world.apiUrl = `http://127.0.0.1:${api.ready.port}`;

await chargeEach(WARM_UP);
console.log(
  '| LiteLLM | charges | seconds | charges a minute | median s | slowest s | calls of bulk work that hung |\n|---|---|---|---|---|---|---|',
);
print('answers', await chargeEach(charges), 0);
const hanging = await hangBulkWork(world);
await hanging.fault.struck(LITELLM_CALLS.bulk.atOnce);
print('hangs for bulk work', await chargeEach(charges), await hanging.fault.strikes());
await hanging.end();

await Promise.all([api.terminate(), worker.terminate()]);
await world.close();
await globalTeardown();

type Measured = { seconds: number; medianSeconds: number; slowestSeconds: number };

/** So many organizations, each charged once: how long all take, and one from its alert to its granted quota. */
async function chargeEach(count: number): Promise<Measured> {
  const organizations: Organization[] = [];
  for (let each = 0; each < count; each++) organizations.push(await world.organization());
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
  return { seconds, medianSeconds: took[Math.floor(count / 2)] ?? 0, slowestSeconds: took.at(-1) ?? 0 };
}

function print(what: string, { seconds, medianSeconds, slowestSeconds }: Measured, hung: number): void {
  const cells = [seconds.toFixed(0), ((60 * charges) / seconds).toFixed(0), medianSeconds.toFixed(1), slowestSeconds.toFixed(1)];
  console.log(`| ${what} | ${charges} | ${cells.join(' | ')} | ${hung} |`);
}
