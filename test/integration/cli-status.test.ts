/** `bill status` and the `show` commands, as an operator reads them in a terminal. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { runBill, startBillCommand } from '../support/processes.ts';
import { ADMIN_API_KEY, type Organization, type RechargeIds, World } from '../support/world.ts';

/** The contract's code for a command that has found something. */
const FOUND = 3;

let world: World;
let held: Organization;
let paid: RechargeIds & { organization: Organization };
let holdId: string;

beforeAll(async () => {
  world = await World.start();
  paid = await world.recharged();
  held = await world.organization();
  const { data } = await world.admin.post('/api/v1/holds', { scope: 'organization', subject: held.id, reason: 'unpaid invoices' });
  holdId = data.id;
});
afterAll(() => world.close());

const environment = () => ({ PUBLIC_URL: world.apiUrl, ADMIN_API_KEY });
const bill = (...args: string[]) => runBill(args, environment());

test('bill status says who, what, since when, why and what to do, and ends with 3', async () => {
  const { code, out } = await bill('status');
  expect(code).toBe(FOUND);
  const lines = out.split('\n');
  const at = lines.findIndex((line) => line.includes(held.id));
  expect(lines[at]).toMatch(new RegExp(`^held +${held.id} +balance unknown +since .+ \\(.+ ago\\)$`));
  expect(lines.slice(at + 1, at + 3)).toEqual([
    `${' '.repeat(18)}unpaid invoices (operator)`,
    `${' '.repeat(18)}→ a person releases it: bill release ${holdId} "reason"`,
  ]);
  expect(out).toMatch(new RegExp(`^ok +workers of ${world.name} +\\d+, the last one asked`, 'm'));
  expect(out).not.toContain(paid.organization.id);
});

test('bill status --json is what the API answers, and --org and --all choose', async () => {
  const { out } = await bill('status', '--json', '--org', paid.organization.id);
  expect(JSON.parse(out).organizations.data).toMatchObject([{ organization_id: paid.organization.id, state: 'ok' }]);
  expect((await bill('status', '--all')).out).toMatch(new RegExp(`^ok +${paid.organization.id} `, 'm'));
  const unknown = await bill('status', '--org', 'nobody');
  expect(unknown).toMatchObject({ code: 2, out: '', err: expect.stringContaining('there is no organization nobody') });
});

test('bill status --watch goes on saying it', async () => {
  const { child, ended } = startBillCommand(['status', '--watch'], environment());
  let said = '';
  child.stdout?.on('data', (text) => {
    said += text;
  });
  await world.eventually(async () => said.split('service at').length > 2, 'it has looked twice');
  child.kill();
  await ended;
});

test('bill recharges show tells the story, by any id', async () => {
  const { code, out } = await bill('recharges', 'show', paid.intentId);
  expect(code).toBe(0);
  expect(out).toContain(
    `${paid.rechargeId} of ${paid.organization.id}: succeeded\n20.50 USD was paid, and the budget raised from 10.00 to 30.50.\n`,
  );
  expect(out).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC {2}the budget was raised from 10\.00 to 30\.50$/m);
  expect(out).toMatch(/^ {2}grant {7}prepaid → granted {2}20\.50 USD {2}\(20\.50 of quota\)$/m);
  expect(out).toMatch(/^Temporal {2}http.+recharge%2F/m);
  const json = JSON.parse((await bill('recharges', 'show', paid.eventId, '--json')).out);
  expect(json).toMatchObject({ id: paid.rechargeId, next: null });
  expect(await bill('recharges', 'show', 'pi_nobody')).toMatchObject({
    code: 2,
    out: '',
    err: expect.stringContaining('no recharge belongs to pi_nobody'),
  });
});

test.each([['sweep'], ['reconcile'], ['sync', '--wait']])(
  'bill %s says that no worker is there to do it, while it waits',
  async (...command) => {
    const nobodys = `${world.name}-nobody`;
    await world.withAnotherApi({ TEMPORAL_TASK_QUEUE: nobodys }, async (url) => {
      const { child, ended } = startBillCommand(command, { ...world.env, PUBLIC_URL: url, TEMPORAL_TASK_QUEUE: nobodys });
      let said = '';
      child.stderr?.on('data', (text) => {
        said += text;
      });
      const line = `workers of ${nobodys}: none asks for work: nothing is charged, swept or synchronised. start one: bill worker`;
      await world.eventually(async () => said.includes(line), 'it is said');
      child.kill();
      await ended;
    });
  },
);
