/** The README's recipe for production, line by line: on an empty database, with servers that are not ours. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Connection } from '@temporalio/client';
import { freePort } from '../../sandbox/ports.ts';
import { createDatabase } from '../support/databases.ts';
import { Processes, runBill } from '../support/processes.ts';
import { World } from '../support/world.ts';

const README = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
const BEGINNING = 'npm run bill -- ';
/** What doctor ends with while Stripe has sent no event: nothing to change, or something. */
const DOCTOR_ENDS = [0, 3];

let world: World;
const processes = new Processes();

beforeAll(async () => {
  // Schedules are of a namespace: in one of its own they start no runs of others.
  const namespace = `recipe-${Date.now()}`;
  const connection = await Connection.connect({ address: process.env['TEST_TEMPORAL_ADDRESS'] ?? '' });
  const workflowExecutionRetentionPeriod = { seconds: 86_400 as never };
  await connection.workflowService.registerNamespace({ namespace, workflowExecutionRetentionPeriod });
  const databaseUrl = await createDatabase(`recipe_${Date.now()}`);
  world = await World.create({
    TEMPORAL_NAMESPACE: namespace,
    DATABASE_URL: databaseUrl,
    PORT: String(await freePort()),
  });
  await world.eventually(async () => connection.workflowService.describeNamespace({ namespace }), 'the namespace is known');
  await connection.close();
});
afterAll(async () => {
  await processes.killAll();
  await world.close();
});

/** The commands of the block that begins with `migrate`, with what the reader has to fill in. */
function recipe(known: Record<string, string>): string[][] {
  const block = README.split('```\n').find((each) => each.startsWith(`${BEGINNING}migrate`)) ?? '';
  return block
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      expect(line).toContain(BEGINNING);
      const filled = Object.entries(known).reduce((text, [placeholder, value]) => text.replaceAll(placeholder, value), line);
      return filled
        .slice(BEGINNING.length)
        .replace(/\s+#.*$/, '')
        .split(/\s+/);
    });
}

test('is walked, and an organization is recharged in the end', async () => {
  const customer = await world.stripe.customers.create({ name: 'acme' });
  await world.attachCard(customer.id, 'pm_card_visa');
  await world.kms.post('/team/new', { team_id: 'team-of-acme', max_budget: 10 });
  await world.spend('team-of-acme', 8);
  const lines = recipe({ 'cus_…': customer.id, '<litellm team>': 'team-of-acme' });
  expect(lines.map(([command]) => command)).toEqual(['migrate', 'serve', 'worker', 'doctor', 'org', 'webhook']);
  for (const args of lines) {
    const [command = ''] = args;
    if (command === 'serve' || command === 'worker') await processes.start(command, world);
    else {
      const { code, err } = await runBill(args, world.env);
      const ends = command === 'doctor' ? DOCTOR_ENDS : [0];
      expect({ args, err, code: ends.includes(code ?? -1) ? 'as it should' : code }).toEqual({ args, err, code: 'as it should' });
    }
  }
  const recharged = `select 1 from recharge where organization_id = 'acme' and status = 'succeeded'`;
  await world.eventually(async () => (await world.sql.query(recharged)).rowCount, 'acme is recharged');
  expect(await world.budgetOf('team-of-acme')).toBe(33);
});

test('a worker that polls is healthy, and one that polls nothing of ours is not', async () => {
  const polls = await runBill(['worker', '--check'], world.env);
  expect(polls).toMatchObject({
    code: 0,
    err: '',
    out: expect.stringMatching(/^(workers of test_\w+(-charges|-bulk)? on \S+, at Temporal \S+: 1, the last one asked .+ ago\n){3}$/),
  });
  const elsewhere = await runBill(['worker', '--check'], { ...world.env, TEMPORAL_TASK_QUEUE: 'nobodys-queue' });
  expect(elsewhere).toMatchObject({
    code: 1,
    out: '',
    err: expect.stringMatching(/workers of nobodys-queue on \S+, at Temporal \S+: none asks for work/),
  });
});
