/**
 * Whatever happens to LiteLLM once the card is charged: the quota is raised once, or the charge is refunded
 * once.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { FaultRequest } from '../../sandbox/faults.ts';
import { FAILURE } from '../../src/domain/failures.ts';
import { BUDGET_AFTER, NEEDS_ATTENTION, RECHARGED, REFUNDED, unsuccessful } from '../support/books.ts';
import { expectChargedOnce, expectRefunded } from '../support/expectations.ts';
import { READ_BUDGET, RESET, WRITE_BUDGET } from '../support/faults.ts';
import { failedAttempts } from '../support/runs.ts';
import { World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterEach(() => world.clearFaults());
afterAll(() => world.close());

const TRANSIENT_FAULTS: [string, FaultRequest][] = [
  [
    'case 38: LiteLLM answers 500 for a while',
    { ...WRITE_BUDGET, times: 3, action: { kind: 'respond', status: 500, body: { error: { message: 'down' } } } },
  ],
  ['case 39: the update is applied and its answer lost', { ...WRITE_BUDGET, when: 'after', action: RESET }],
  [
    'case 39: the update is applied and answered 500',
    { ...WRITE_BUDGET, when: 'after', action: { kind: 'respond', status: 500, body: {} } },
  ],
  ['the connection is reset before the update arrives', { ...WRITE_BUDGET, when: 'before', times: 2, action: RESET }],
  [
    'LiteLLM answers HTML with 200 and changes nothing',
    { ...WRITE_BUDGET, when: 'before', action: { kind: 'respond', status: 200, body: '<html></html>' } },
  ],
  ['the team cannot be read for a while', { ...READ_BUDGET, times: 3, action: { kind: 'respond', status: 502, body: '' } }],
  ['the team is answered in half', { ...READ_BUDGET, times: 2, action: { kind: 'cut_body' } }],
];

describe('a fault that passes ends with one charge and the quota raised once', () => {
  test.each(TRANSIENT_FAULTS)('%s', async (_name, fault) => {
    const organization = await world.organization();
    const standing = await world.kmsFault(fault);
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    expect(await standing.strikes()).toBe(fault.times ?? 1);
    await expectChargedOnce(world, organization);
  });

  test('LiteLLM loses its database after the charge and refuses the look at the team (1.100.5: by 404): nothing is refunded', async () => {
    const organization = await world.organization();
    const { eventId, goOn } = await world.chargedButNotGranted(organization);
    await world.kmsKnob('settings', { database_down: true });
    await goOn();
    await world.eventually(async () => (await looksRefused(organization.teamId)) >= 2, 'two looks at the team are refused');
    await world.kmsKnob('settings', { database_down: false });
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  async function looksRefused(teamId: string): Promise<number> {
    const { requests } = await world.kmsState();
    return requests.filter(({ path, query, status }) => path === READ_BUDGET.path && query.includes(teamId) && status >= 400).length;
  }
});

describe('when the quota can never be raised, the charge is refunded', () => {
  test('case 45: the team is deleted between charge and grant', async () => {
    const organization = await world.organization();
    const { eventId, goOn } = await world.chargedButNotGranted(organization);
    await world.deleteTeam(organization.teamId);
    await goOn();
    expect(await world.closed(eventId)).toEqual(REFUNDED);
    await expectRefunded(world, organization);
    const { ledger_transfers, timeline, amount, returned } = await world.rechargeOf(organization);
    expect(returned).toBe(amount);
    expect(ledger_transfers.map(({ kind }) => kind)).toEqual(['charge', 'refund']);
    expect(timeline.map(({ status }) => status)).toEqual(['reserved', 'charging', 'charged', 'refunding', 'refunded']);
  });

  test.each([
    ['case 41: the answer to the refund is lost', { path: '/v1/refunds', when: 'after', times: 2, action: RESET }],
    [
      'a saved 500 to the refund although it was made',
      { path: '/v1/refunds', when: 'after', saved: true, action: { kind: 'respond', status: 500 } },
    ],
    [
      'Stripe is unavailable when the refund is due',
      {
        path: '/v1/refunds',
        when: 'before',
        times: 3,
        action: { kind: 'respond', status: 503, body: { error: { type: 'api_error', message: 'unavailable' } } },
      },
    ],
  ] satisfies [string, FaultRequest][])('%s: one refund', async (_name, fault: FaultRequest) => {
    const organization = await world.organization();
    const { eventId, goOn } = await world.chargedButNotGranted(organization);
    const standing = await world.stripeFault(fault);
    await world.deleteTeam(organization.teamId);
    await goOn();
    expect(await world.closed(eventId)).toEqual(REFUNDED);
    expect(await standing.strikes()).toBe(fault.times ?? 1);
    await expectRefunded(world, organization);
  });

  test('case 42: a refund that is pending is waited for', async () => {
    const organization = await world.organization();
    const { eventId, goOn } = await world.chargedButNotGranted(organization);
    await world.stripeKnob('refunds/mode', { status: 'pending' });
    await world.deleteTeam(organization.teamId);
    await goOn();
    const refundId = await world.refundOf(eventId);
    await world.stripeKnob('refunds/mode', { status: 'succeeded' });
    await world.stripeKnob(`refunds/${refundId}`, { status: 'succeeded' });
    expect(await world.closed(eventId)).toEqual(REFUNDED);
    await expectRefunded(world, organization);
  });
});

test('a proxy has not waited for a write, and the next is refused: the money waits until the first is over, and its quota is taken back', async () => {
  const organization = await world.organization();
  await world.kmsFault({ ...WRITE_BUDGET, contains: organization.teamId, action: { kind: 'respond', status: 504, body: '<html></html>' } });
  const refusal = await world.refuseBudget(organization, { kind: 'respond', status: 400, body: { error: { message: 'invalid' } } });
  const eventId = await world.accepted(organization);
  await failedAttempts(await world.runOf(eventId), FAILURE.budgetBusy);
  // LiteLLM was still at work on the first.
  await world.setBudget(organization.teamId, BUDGET_AFTER);
  await refusal.remove();
  await world.sql.query('update recharge set write_until = now() where organization_id = $1 and write_until > now()', [organization.id]);
  expect(await world.closed(eventId)).toEqual(REFUNDED);
  await expectRefunded(world, organization);
  expect(await world.budgetOf(organization.teamId)).toBe(10);
});

test('case 40: a budget edited by somebody else after ours was planned stays, and a person decides', async () => {
  const organization = await world.organization();
  const { eventId, goOn } = await world.chargedButNotGranted(organization);
  await world.setBudget(organization.teamId, 11);
  await goOn();
  expect(await world.closed(eventId)).toEqual(NEEDS_ATTENTION);
  expect(await world.budgetOf(organization.teamId)).toBe(11);
  expect(await world.rechargeOf(organization)).toMatchObject({
    status: 'needs_attention',
    quota_before: '10.00',
    quota_after: '30.50',
    failure: { message: expect.stringContaining('11.00') },
  });
  expect(await world.alerted(organization)).toEqual(unsuccessful('recharge_open'));
});
