/** Whatever happens to LiteLLM once the card is charged: the quota is raised once, or the charge is refunded once. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import axios from 'axios';
import type { FaultRequest } from '../../sandbox/faults.ts';
import { type Organization, World } from '../support/world.ts';

const CHARGED_ONCE = { charges: 1, captured: 2050, refunded: 0, granted: 2050, prepaid: 0 };
const REFUNDED = { charges: 1, captured: 2050, refunded: 2050, granted: 0, prepaid: 0 };
const UPDATE = { method: 'POST', path: '/team/update' } as const;

let world: World;
beforeAll(async () => {
  world = await World.start();
}, 60_000);
afterEach(() => world.clearFaults());
afterAll(() => world.close());

const TRANSIENT_FAULTS: [string, FaultRequest][] = [
  [
    'case 38: LiteLLM answers 500 for a while',
    { ...UPDATE, times: 3, action: { kind: 'respond', status: 500, body: { error: { message: 'down' } } } },
  ],
  ['case 39: the update is applied and its answer lost', { ...UPDATE, when: 'after', action: { kind: 'reset' } }],
  ['case 39: the update is applied and answered 500', { ...UPDATE, when: 'after', action: { kind: 'respond', status: 500, body: {} } }],
  ['the connection is reset before the update arrives', { ...UPDATE, when: 'before', times: 2, action: { kind: 'reset' } }],
  [
    'LiteLLM answers HTML with 200 and changes nothing',
    { ...UPDATE, when: 'before', action: { kind: 'respond', status: 200, body: '<html></html>' } },
  ],
  [
    'the team cannot be read for a while',
    { method: 'GET', path: '/team/info', times: 3, action: { kind: 'respond', status: 502, body: '' } },
  ],
  ['the team is answered in half', { method: 'GET', path: '/team/info', times: 2, action: { kind: 'cut_body' } }],
];

describe('a fault that passes ends with one charge and the quota raised once', () => {
  test.each(TRANSIENT_FAULTS)(
    '%s',
    async (_name, fault) => {
      const organization = await world.organization();
      await world.kmsFault(fault);
      const { data } = await world.alert(organization.teamId);
      expect(await world.closed(data.event_id)).toEqual({ outcome: 'recharged', success: true });
      expect(await world.budgetOf(organization.teamId)).toBe(30.5);
      expect(await world.books(organization)).toEqual(CHARGED_ONCE);
    },
    60_000,
  );

  test('LiteLLM loses its database after the charge and answers 404 for the team: nothing is refunded', async () => {
    const organization = await world.organization();
    const eventId = await chargedButNotGranted(organization);
    await axios.post(`${world.kmsUrl}/_sandbox/settings`, { database_down: true });
    await world.clearFaults();
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    await axios.post(`${world.kmsUrl}/_sandbox/settings`, { database_down: false });
    expect(await world.closed(eventId)).toEqual({ outcome: 'recharged', success: true });
    expect(await world.budgetOf(organization.teamId)).toBe(30.5);
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  }, 60_000);
});

describe('when the quota can never be raised, the charge is refunded', () => {
  test('case 45: the team is deleted between charge and grant', async () => {
    const organization = await world.organization();
    const eventId = await chargedButNotGranted(organization);
    await world.deleteTeam(organization.teamId);
    await world.clearFaults();
    expect(await world.closed(eventId)).toEqual({ outcome: 'refunded', success: false });
    expect(await world.books(organization)).toEqual(REFUNDED);
    const [recharge] = (await world.admin.get('/api/v1/recharges', { params: { organization_id: organization.id } })).data.data;
    const { data } = await world.admin.get(`/api/v1/recharges/${recharge.id}`);
    expect(data.ledger_transfers.map(({ kind }: { kind: string }) => kind)).toEqual(['charge', 'refund']);
    expect(data.timeline.map(({ status }: { status: string }) => status)).toEqual([
      'reserved',
      'charging',
      'charged',
      'refunding',
      'refunded',
    ]);
  }, 60_000);

  test.each([
    ['case 41: the answer to the refund is lost', { path: '/v1/refunds', when: 'after', times: 2, action: { kind: 'reset' } }],
    [
      'a saved 500 to the refund although it was made',
      { path: '/v1/refunds', when: 'after', saved: true, action: { kind: 'respond', status: 500 } },
    ],
    [
      'Stripe is away when the refund is due',
      {
        path: '/v1/refunds',
        when: 'before',
        times: 3,
        action: { kind: 'respond', status: 503, body: { error: { type: 'api_error', message: 'away' } } },
      },
    ],
  ] satisfies [string, FaultRequest][])(
    '%s: one refund',
    async (_name, fault) => {
      const organization = await world.organization();
      const eventId = await chargedButNotGranted(organization);
      await world.stripeFault(fault);
      await world.deleteTeam(organization.teamId);
      await axios.delete(`${world.kmsUrl}/_sandbox/faults`);
      expect(await world.closed(eventId)).toEqual({ outcome: 'refunded', success: false });
      expect(await world.books(organization)).toEqual(REFUNDED);
    },
    60_000,
  );

  test('case 42: a refund that is pending is waited for', async () => {
    const organization = await world.organization();
    const eventId = await chargedButNotGranted(organization);
    await axios.post(`${world.stripeUrl}/_sandbox/refunds/mode`, { status: 'pending' });
    await world.deleteTeam(organization.teamId);
    await world.clearFaults();
    const refundId = await world.eventually(
      async () =>
        (await world.sql.query('select refund_id from recharge where event_id = $1 and refund_id is not null', [eventId])).rows[0]
          ?.refund_id as string,
      'the refund is asked for',
    );
    await axios.post(`${world.stripeUrl}/_sandbox/refunds/mode`, { status: 'succeeded' });
    await axios.post(`${world.stripeUrl}/_sandbox/refunds/${refundId}`, { status: 'succeeded' });
    expect(await world.closed(eventId)).toEqual({ outcome: 'refunded', success: false });
    expect(await world.books(organization)).toEqual(REFUNDED);
  }, 60_000);
});

test('case 40: a budget edited by somebody else after ours was planned stays, and a person decides', async () => {
  const organization = await world.organization();
  const eventId = await chargedButNotGranted(organization);
  await world.setBudget(organization.teamId, 11);
  await world.clearFaults();
  expect(await world.closed(eventId)).toEqual({ outcome: 'needs_attention', success: false });
  expect(await world.budgetOf(organization.teamId)).toBe(11);
  const [recharge] = (await world.admin.get('/api/v1/recharges', { params: { organization_id: organization.id } })).data.data;
  expect(recharge).toMatchObject({ status: 'needs_attention', quota_before: '10.00', quota_after: '30.50' });
  expect(recharge.failure.message).toContain('11.00');

  const again = await world.alert(organization.teamId);
  expect(await world.closed(again.data.event_id)).toEqual({ outcome: 'recharge_open', success: false });
}, 60_000);

/** An event whose charge is in the ledger and whose budget write LiteLLM refuses for now, its plan stored. Ended by `clearFaults`. */
async function chargedButNotGranted(organization: Organization): Promise<string> {
  await world.kmsFault({ ...UPDATE, times: 1000, action: { kind: 'respond', status: 503, body: {} } });
  const { data } = await world.alert(organization.teamId);
  await world.eventually(
    async () =>
      (
        await world.sql.query("select 1 from recharge where event_id = $1 and status = 'charged' and quota_after is not null", [
          data.event_id,
        ])
      ).rows[0],
    'the charge is in the ledger',
  );
  return data.event_id;
}
