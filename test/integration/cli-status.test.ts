/** `bill status` and the `show` commands, as an operator reads them in a terminal. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { ALWAYS, READ_BUDGET, UNAVAILABLE } from '../support/faults.ts';
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
  expect(lines[at]).toMatch(new RegExp(`^held +${held.id} +balance -0\\.50 USD \\(.+ ago\\) +since .+ \\(.+ ago\\)$`));
  expect(lines.slice(at + 1, at + 3)).toEqual([
    `${' '.repeat(18)}unpaid invoices (operator)`,
    `${' '.repeat(18)}→ a person releases it: bill release ${holdId} "reason"`,
  ]);
  expect(out).toMatch(new RegExp(`^ok +workers of ${world.name} +\\d+, the last one asked`, 'm'));
  expect(out).not.toContain(paid.organization.id);
});

test('bill status --org speaks of that organization, whatever others need', async () => {
  expect((await bill('status', '--org', paid.organization.id)).out).toContain(`Nobody has to act on ${paid.organization.id} itself.`);
  expect((await bill('status', '--org', held.id)).out).toContain(`Somebody has to act on ${held.id} itself.`);
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

test('bill status --watch --json says each look in a line of JSON, and ends when nobody reads it any more', async () => {
  const { child, ended } = startBillCommand(['status', '--watch', '--json'], environment());
  let said = '';
  child.stdout?.on('data', (text) => {
    said += text;
  });
  await world.eventually(async () => said.split('\n').length > 2, 'it has looked twice');
  child.stdout?.destroy();
  expect(await ended).toMatchObject({ code: 0, err: '' });
  for (const line of said.split('\n').slice(0, 2))
    expect(JSON.parse(line)).toMatchObject({ at: expect.any(String), service: expect.any(Array) });
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

test('bill recharges show says that the money went back, and bill holds show what stops charges', async () => {
  const { organization, rechargeId, intentId } = await world.recharged();
  const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
  await world.findingsOf(organization);
  await world.reversalIs(id, 'taken_back');
  expect((await bill('recharges', 'show', rechargeId)).out).toMatch(
    new RegExp(`^${rechargeId} of ${organization.id}: succeeded, returned\n`),
  );
  expect((await bill('reversals', organization.id)).out).toMatch(
    new RegExp(
      `^created_at +organization_id +kind +reason .*\n.* ${organization.id} +dispute +fraudulent +${rechargeId} +20.50 USD +taken_back `,
    ),
  );
  const [reversal] = (await world.admin.get(`/api/v1/reversals?organization_id=${organization.id}`)).data.data;
  expect(reversal).toMatchObject({ id, kind: 'dispute', reason: 'fraudulent', failure: null });
  const [hold] = (await world.admin.get(`/api/v1/holds?organization_id=${organization.id}`)).data.data;
  expect((await bill('holds', 'show', hold.id)).out).toContain(
    `${hold.id} (disputed) on organization ${organization.id}\ndispute ${id} of recharge ${rechargeId}: 20.50 USD, fraudulent.\n`,
  );
});

test('bill holds show takes the id of an organization, of an event that a hold has refused, and of what has led to one', async () => {
  const organization = await world.organization({ card: 'pm_card_chargeCustomerFail' });
  expect(await bill('holds', 'show', organization.id)).toMatchObject({
    code: 2,
    err: expect.stringContaining(`no hold stops ${organization.id} now`),
  });
  await world.alerted(organization);
  const { id: rechargeId } = await world.rechargeOf(organization);
  const eventId = await world.accepted(organization);
  await world.closed(eventId);
  const [hold] = (await world.admin.get(`/api/v1/holds?organization_id=${organization.id}`)).data.data;
  for (const id of [rechargeId, eventId, `recharge/${organization.id}/${eventId}`, organization.id])
    expect((await bill('holds', 'show', id)).out).toMatch(new RegExp(`^${hold.id} \\(declined\\) on card `));
  await world.admin.post('/api/v1/holds', { scope: 'organization', subject: organization.id, reason: 'unpaid invoices' });
  expect((await bill('holds', 'show', organization.id)).out).toMatch(
    new RegExp(`^${hold.id} \\(declined\\) on card (.*\\n)+\\nhld_\\w+ \\(operator\\) on organization ${organization.id}\\n`),
  );
  for (const [id, why] of [
    ['nothing', 'there is no hold nothing: it takes the id of an organization, or of a recharge'],
    [paid.rechargeId, `recharge ${paid.rechargeId} has led to no hold of its own; bill holds ${paid.organization.id} lists`],
  ] as const)
    expect(await bill('holds', 'show', id)).toMatchObject({ code: 2, err: expect.stringContaining(why) });
});

test('the words of Stripe end once, and a hold on the card is one of the organization', async () => {
  const organization = await world.organization({ card: 'pm_card_chargeCustomerFail' });
  await world.alerted(organization);
  const { id } = await world.rechargeOf(organization);
  const { out } = await bill('recharges', 'show', id);
  expect(out).toContain('20.50 USD was not paid: ');
  expect(out).not.toContain('..');
  expect((await bill('recharges', organization.id)).out).toMatch(
    new RegExp(`^created_at .* quota_after +reason +id\n.* declined +10.00 USD +- +Your card was declined \\(\\w+\\) +${id}$`, 'm'),
  );
  const told = `at the attempt of ${organization.id} \\(${id}\\); it stops ${organization.id} alone`;
  expect((await bill('org', 'show', organization.id)).out).toMatch(new RegExp(`^holds +declined: .*${told} \\(hld_\\w+\\)$`, 'm'));
  const [hold] = (await world.admin.get(`/api/v1/holds?organization_id=${organization.id}`)).data.data;
  expect((await bill('holds', 'show', hold.id)).out).toMatch(new RegExp(`\n.*${told}\\.\n`));
  expect((await bill('holds', organization.id)).out).toMatch(new RegExp(told));
});

test('bill release says what is charged then', async () => {
  const { out, err } = await bill('release', holdId, 'paid');
  expect(out).toMatch(
    new RegExp(
      `^${holdId} \\(operator\\) on organization ${held.id}\nunpaid invoices\\.\n.* it began, by .*\n.* it ended, by .+: paid$`,
      'm',
    ),
  );
  expect(err).toBe(
    `the balance is -0.50 USD, so the card is asked for 20.50 USD within a minute; to stop it: bill hold ${held.id} "reason"\n`,
  );
});

test('bill release says that it cannot foresee what is charged then, and why', async () => {
  const organization = await world.organization();
  const { data: hold } = await world.admin.post('/api/v1/holds', { scope: 'organization', subject: organization.id, reason: 'look' });
  const fault = await world.kmsFault({ ...READ_BUDGET, contains: organization.teamId, times: ALWAYS, action: UNAVAILABLE });
  const { code, err } = await bill('release', hold.id, 'looked').finally(() => fault.remove());
  expect([code, err]).toEqual([0, expect.stringMatching(/^what is charged now cannot be foreseen: .*LiteLLM/)]);
});

test('bill reconcile says what it waits for while Stripe hangs, before that has failed', async () => {
  const fault = await world.stripeFault({ path: '/v1/**', times: ALWAYS, action: { kind: 'hang' } });
  const { child, ended } = startBillCommand(['reconcile'], world.env);
  let said = '';
  child.stderr?.on('data', (text) => {
    said += text;
  });
  try {
    const waits = /^0 intents and 0 organizations compared; compareIntents has been under way since .* UTC: bill doctor says/m;
    await world.eventually(async () => waits.test(said), 'it has said what it waits for');
    expect(said).not.toContain('has failed');
  } finally {
    await fault.remove();
    child.kill();
    await ended;
  }
});

test('without a worker, what waits for one says so once and ends with 1; and somebody has to act', async () => {
  const nobodys = `${world.name}-nobody`;
  await world.withAnotherApi({ TEMPORAL_TASK_QUEUE: nobodys }, async (url) => {
    const run = (...command: string[]) => runBill(command, { ...world.env, PUBLIC_URL: url, TEMPORAL_TASK_QUEUE: nobodys });
    const line = `workers of ${nobodys}: none asks for work: nothing is charged, swept or synchronised. start one: bill worker`;
    const [status, ...waits] = await Promise.all([run('status'), run('sweep'), run('reconcile'), run('sync', '--wait')]);
    expect(status.out).toContain('Somebody has to act on the service, as WRONG says; ');
    expect(status.out).not.toContain('Nobody has to act');
    for (const { code, out, err } of waits) {
      expect({ code, out, said: err.split(line).length - 1 }).toEqual({ code: 1, out: '', said: 1 });
      expect(err).toMatch(/bill: no worker for 20 s: start one \(bill worker\), and (run|synchronisation) \S+ goes on by itself\n$/);
    }
  });
});
