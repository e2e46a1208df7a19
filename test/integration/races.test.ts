/**
 * Two things at once, or one thing half known: what a review of the money path broke, and must not break
 * again.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { FaultRequest } from '../../sandbox/faults.ts';
import { FAILURE } from '../../src/domain/failures.ts';
import {
  ABOVE_MINIMUM,
  BUDGET_AFTER,
  CANCELLED,
  CHARGED_AND_REFUNDED,
  CHARGED_ONCE,
  DECLINED,
  HELD,
  NEEDS_ATTENTION,
  RECHARGED,
  REFUNDED,
  SUCCEEDED,
  unsuccessful,
} from '../support/books.ts';
import { expectChargedOnce, expectUncharged } from '../support/expectations.ts';
import { ALWAYS, CREATE_INTENT, HOLD, READ_BUDGET, RESET, UNAVAILABLE, WRITE_BUDGET } from '../support/faults.ts';
import { failedAttempts } from '../support/runs.ts';
import { newFingerprint } from '../support/stand-ins.ts';
import { type Organization, World } from '../support/world.ts';

const CANCEL = '/v1/payment_intents/*/cancel';

const forbidden = { kind: 'respond', status: 403, body: { error: { message: 'forbidden' } } } as const;
const invalid = { kind: 'respond', status: 400, body: { error: { message: 'invalid' } } } as const;
const nothingHere = { kind: 'respond', status: 404, body: '404 page not found' } as const;

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterEach(async () => {
  await world.clearFaults();
  await world.revokeStripeKey(false);
  await world.releaseService();
});
afterAll(() => world.close());

describe('a refusal that the budget itself does not confirm refunds nothing, and the quota is raised once', () => {
  /**
   * The balance is read once to decide and once before the write: what is to strike afterwards lets two reads
   * through.
   */
  const BEFORE_WRITE = 2;

  test.each<[string, FaultRequest[]]>([
    ['the write is made and answered 400', [{ ...WRITE_BUDGET, when: 'after', action: invalid }]],
    ['the write is made and answered 403', [{ ...WRITE_BUDGET, when: 'after', action: forbidden }]],
    [
      'the write is made, its answer lost, and the next look at it is 403',
      [
        { ...WRITE_BUDGET, when: 'after', action: RESET },
        { ...READ_BUDGET, skip: BEFORE_WRITE, action: forbidden },
      ],
    ],
    [
      'the write is made and answered 403, and so is the look at it',
      [
        { ...WRITE_BUDGET, when: 'after', action: forbidden },
        { ...READ_BUDGET, skip: BEFORE_WRITE, action: forbidden },
      ],
    ],
    [
      'the write is made, its answer lost, and then an ingress answers 404 to everything for a while',
      [
        { ...WRITE_BUDGET, when: 'after', action: RESET },
        { path: '**', skip: BEFORE_WRITE, times: 2, action: nothingHere },
      ],
    ],
    [
      'the write does not arrive, and then an ingress answers 404 to everything for a while',
      [
        { ...WRITE_BUDGET, when: 'before', action: RESET },
        { path: '**', skip: BEFORE_WRITE, times: 2, action: nothingHere },
      ],
    ],
  ])('%s', async (_name, faults) => {
    const organization = await world.organization();
    for (const fault of faults) await world.kmsFault(fault);
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    expect(await world.strikes()).toBe(faults.reduce((sum, { times = 1 }) => sum + times, 0));
    await expectChargedOnce(world, organization);
  });

  test('an ingress that answers 404 to everything while the balance is looked at does not make the team a missing one', async () => {
    const organization = await world.organization();
    await world.kmsFault({ path: '**', times: 4, action: nothingHere });
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    expect(await world.strikes()).toBe(4);
    await expectChargedOnce(world, organization);
  });
});

describe('what Stripe has decided stays decided', () => {
  test('a refund that was pending and fails leaves the money to a person, and no second one is made', async () => {
    const organization = await world.organization();
    const { eventId, intentId, goOn } = await world.chargedButNotGranted(organization);
    await world.stripeKnob('refunds/mode', { status: 'pending' });
    await world.deleteTeam(organization.teamId);
    await goOn();
    const refundId = await world.refundOf(eventId).finally(() => world.stripeKnob('refunds/mode', { status: 'succeeded' }));
    await world.stripeKnob(`refunds/${refundId}`, { status: 'failed', failure_reason: 'lost_or_stolen_card' });
    await (await world.runOf(eventId)).signal('stripeChanged');

    expect(await world.closed(eventId)).toEqual(NEEDS_ATTENTION);
    expect(await world.rechargesOf(organization)).toMatchObject([
      { status: 'needs_attention', failure: { code: 'refund_failed', message: `refund ${refundId} is failed (lost_or_stolen_card)` } },
    ]);
    const { data: refunds } = await world.stripe.refunds.list({ payment_intent: intentId });
    expect(refunds).toMatchObject([{ id: refundId, status: 'failed' }]);
    expect(await world.books(organization)).toEqual({ ...CHARGED_ONCE, granted: 0, prepaid: 2050 });
  });

  test.each([
    ['by a process of the version before, under a key of its own', (rechargeId: string) => ({ metadata: { recharge_id: rechargeId } })],
    ['by somebody at Stripe', () => ({})],
    ['by somebody at Stripe, of a part', () => ({ amount: 500 })],
  ])('a refund that was made %s, while ours was on its way, is taken over, and the rest is given back', async (_by, refundOf) => {
    const organization = await world.organization();
    await world.kmsFault({ ...WRITE_BUDGET, times: ALWAYS, action: forbidden });
    const ours = await world.stripeFault({ method: 'POST', path: '/v1/refunds', action: HOLD });
    const eventId = await world.accepted(organization);
    const { rechargeId, intentId } = await world.rechargeIs(eventId, 'refunding');
    await ours.struck();
    await world.stripe.refunds.create({ payment_intent: intentId, ...refundOf(rechargeId) });
    await ours.remove();
    expect(await world.closed(eventId)).toEqual(REFUNDED);
    expect(await world.books(organization)).toEqual(CHARGED_AND_REFUNDED);
    expect(await world.budgetOf(organization.teamId)).toBe(10);
  });

  test('a saved 500 to the cancellation of a declined intent does not stick: it is cancelled under another key', async () => {
    const organization = await world.organization({ card: 'pm_card_chargeCustomerFail' });
    await world.stripeFault({ path: CANCEL, when: 'before', saved: true, action: { kind: 'respond', status: 500 } });
    expect(await world.alerted(organization)).toEqual(DECLINED);
    expect(await world.strikes()).toBe(1);
    const [recharge] = await world.rechargesOf(organization);
    expect(recharge?.failure).toMatchObject({ decline_code: 'generic_decline' });
    expect((await world.stripe.paymentIntents.retrieve(recharge?.payment_intent_id ?? '')).status).toBe('canceled');
    await expectUncharged(world, organization);
  });

  test('a card that wants its owner present stays action_required when the answer to the cancellation is lost', async () => {
    const organization = await world.organization({ card: 'pm_card_authenticationRequired' });
    // Twice, as stripe-node itself sends once more after a closed connection.
    await world.stripeFault({ path: CANCEL, when: 'after', times: 2, action: RESET });
    expect(await world.alerted(organization)).toEqual(unsuccessful('action_required'));
    expect(await world.strikes()).toBe(2);
    expect(await world.rechargesOf(organization)).toMatchObject([
      { status: 'action_required', failure: { code: 'authentication_required' } },
    ]);
    await expectUncharged(world, organization);
  });

  test('case 31: a card that was refused for good is not tried again, until the customer names another one', async () => {
    const organization = await world.organization();
    await world.makeCardBehaveLike(organization, 'pm_card_chargeDeclinedLostCard');
    expect(await world.alerted(organization)).toEqual(DECLINED);
    expect(await world.alerted(organization)).toEqual(HELD);
    expect((await world.rechargesOf(organization)).map(({ failure }) => failure?.code)).toEqual(['card_declined']);
    expect(await world.chargeAttempts(organization)).toBe(1);

    const another = await world.stripe.paymentMethods.attach('pm_card_mastercard', { customer: organization.customerId });
    await world.stripe.customers.update(organization.customerId, { invoice_settings: { default_payment_method: another.id } });
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  test('a card that was short of funds is tried again by the first alert after its hold', async () => {
    const organization = await world.organization();
    await world.makeCardBehaveLike(organization, 'pm_card_chargeDeclinedInsufficientFunds');
    expect(await world.alerted(organization)).toEqual(DECLINED);
    await world.makeCardBehaveLike(organization, 'pm_card_visa');
    expect(await world.alerted(organization)).toEqual(HELD);
    await world.holdsPass(organization);
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    expect(await world.chargeAttempts(organization)).toBe(2);
  });
});

test('case 54: fifty crossings reported at once for an organization with one recharge left today are one charge', async () => {
  const organization = await world.organization({ settings: { max_daily_recharges: 1 } });
  const answers = await Promise.all(
    // Each reports another budget, so no two are copies of one crossing.
    Array.from({ length: 50 }, (_, copy) => world.alert(organization.teamId, { body: { max_budget: 10 + copy / 1000 } })),
  );
  expect(answers.map(({ status, data }) => [status, data.status])).toEqual(Array(50).fill([200, 'accepted']));
  const outcomes = await Promise.all(answers.map(async ({ data }) => (await world.closed(data.event_id)).outcome));
  expect(outcomes.filter((outcome) => outcome === SUCCEEDED)).toHaveLength(1);
  for (const outcome of outcomes) expect([SUCCEEDED, 'recharge_open', 'above_minimum', 'daily_limit_reached']).toContain(outcome);
  await expectChargedOnce(world, organization);
});

describe('case 56: what is asked is behind the times', () => {
  test('LiteLLM shows the budget from before the last recharge: it is read again, and the next charge is decided on the right one', async () => {
    const organization = await world.organization();
    const before = await world.teamInfo(organization.teamId);
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await world.spend(organization.teamId, 20);
    await world.kmsFault({
      ...READ_BUDGET,
      contains: organization.teamId,
      times: 3,
      action: { kind: 'respond', status: 200, body: before },
    });
    expect(await world.alerted(organization, { max_budget: BUDGET_AFTER })).toEqual(RECHARGED);
    expect(await world.strikes()).toBe(3);
    expect(await world.budgetOf(organization.teamId)).toBe(50.5);
    expect(await world.books(organization)).toEqual({ ...CHARGED_ONCE, charges: 2, captured: 4050, granted: 4050 });
  });

  test('the key of LiteLLM is replaced while money is held: no storm, and a worker with the new key goes on', async () => {
    const organization = await world.organization();
    const refusal = await world.refuseBudget(organization);
    const eventId = await world.accepted(organization);
    await refusal.struck();
    await world.stopWorker();
    await refusal.remove();
    await world.startWorker({ KMS_API_KEY: 'sk-was-revoked' });
    const staleAttempt = await failedAttempts(await world.runOf(eventId), FAILURE.kmsUnauthenticated);
    expect(staleAttempt.pauseMs).toBe(500 * 2 ** (staleAttempt.failures - 1));
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    await world.stopWorker();
    await world.startWorker();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });
});

test('what was reserved for another customer than the organization has by now is not charged, and the next alert is, to the right one', async () => {
  const [organization, right] = [await world.organization(), await world.organization()];
  const creation = await world.stripeFault({ ...CREATE_INTENT, when: 'after', action: HOLD });
  const eventId = await world.accepted(organization);
  await creation.struck();
  const settings = { stripe_customer_id: right.customerId };
  expect((await world.admin.patch(`/api/v1/organizations/${organization.id}`, settings)).status).toBe(200);
  await creation.remove();
  expect(await world.closed(eventId)).toEqual(CANCELLED);
  await expectUncharged(world, organization);
  await world.recharge(organization);
  expect((await world.stripe.charges.list({ customer: organization.customerId })).data).toEqual([]);
  expect((await world.stripe.charges.list({ customer: right.customerId })).data).toMatchObject([{ amount: 2050, captured: true }]);
});

test('what was reserved in another currency than the organization pays in by now is not charged: its limits are in the new one', async () => {
  const organization = await world.organization();
  const creation = await world.stripeFault({ ...CREATE_INTENT, when: 'after', action: HOLD });
  const eventId = await world.accepted(organization);
  await creation.struck();
  const settings = { currency: 'jpy', quota_per_unit: '0.01' };
  expect((await world.admin.patch(`/api/v1/organizations/${organization.id}`, settings)).status).toBe(200);
  await creation.remove();
  expect(await world.closed(eventId)).toEqual(CANCELLED);
  await expectUncharged(world, organization);
});

test('what was reserved on a budget that somebody has edited since is not charged: the quota could not be raised from it', async () => {
  const organization = await world.organization();
  const eventId = await world.reservedOnly(organization);
  await world.sql.query("update recharge set created_at = now() - interval '1 minute' where event_id = $1", [eventId]);
  await world.setBudget(organization.teamId, 40);
  await world.revokeStripeKey(false);
  expect(await world.closed(eventId)).toEqual(CANCELLED);
  await expectUncharged(world, organization);
});

test('a balance of the team that the organization had before decides nothing: the one that it has by now is looked at', async () => {
  const organization = await world.organization();
  const next = `${organization.id}-of-${world.name}`;
  await world.makeTeam({ team_id: next, max_budget: 100 });
  const look = await world.kmsFault({ ...READ_BUDGET, contains: organization.teamId, when: 'after', action: HOLD });
  const eventId = await world.accepted(organization);
  await look.struck();
  expect((await world.admin.patch(`/api/v1/organizations/${organization.id}`, { litellm_team_id: next })).status).toBe(200);
  await look.remove();
  expect(await world.closed(eventId)).toEqual(ABOVE_MINIMUM);
  await expectUncharged(world, organization);
});

test('a call that was refused of the team that the organization had before is no reason to charge for the one that it has by now', async () => {
  const organization = await world.organization({ budget: 10, spend: 9 });
  const next = `${organization.id}-of-${world.name}`;
  await world.makeTeam({ team_id: next, max_budget: 10 });
  await world.spend(next, 4);
  const look = await world.kmsFault({ ...READ_BUDGET, contains: organization.teamId, when: 'after', action: HOLD });
  const eventId = await world.accepted(organization, { spend: 10, max_budget: 10 });
  await look.struck();
  expect((await world.admin.patch(`/api/v1/organizations/${organization.id}`, { litellm_team_id: next })).status).toBe(200);
  await look.remove();
  expect(await world.closed(eventId)).toEqual(ABOVE_MINIMUM);
  await expectUncharged(world, organization);
});

test('a card that was chosen before the customer named another one is not the one that was asked', async () => {
  const organization = await world.organization();
  const refusal = await world.stripeFault({ ...CREATE_INTENT, times: ALWAYS, action: UNAVAILABLE });
  const eventId = await world.accepted(organization);
  await refusal.struck();
  const fingerprint = newFingerprint();
  await world.attachCard(organization.customerId, 'pm_card_chargeCustomerFail', fingerprint);
  await refusal.remove();
  expect(await world.closed(eventId)).toEqual(DECLINED);
  const { rows } = await world.sql.query('select fingerprint, outcome from card_attempt where organization_id = $1', [organization.id]);
  expect(rows).toEqual([{ fingerprint, outcome: 'soft' }]);
});

describe('an edited budget that a person accepts', () => {
  test('is not accepted when it was seen before a recharge from it, though the recharge has left what was expected before', async () => {
    const { organization } = await world.recharged();
    await world.setBudget(organization.teamId, 12);
    const { answer, goOn } = await acceptanceHeld(organization);
    // Another person releases the hold meanwhile.
    expect(await world.alerted(organization)).toEqual(HELD);
    const { data: held } = await world.admin.get(`/api/v1/organizations/${organization.id}`);
    await world.admin.post(`/api/v1/holds/${held.holds[0].id}/release`, { reason: 'it was meant' });
    expect(await world.alerted(organization, { max_budget: 12 })).toEqual(RECHARGED);
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_AFTER);
    await goOn();
    expect((await answer).status).toBe(409);
  });

  test('is not accepted while a recharge from it is under way, and the recharge ends as if nobody had tried', async () => {
    const { organization } = await world.recharged();
    await world.setBudget(organization.teamId, 40);
    await world.spend(organization.teamId, 40);
    const { answer, goOn } = await acceptanceHeld(organization);
    const recharge = await world.chargedButNotGranted(organization, { max_budget: 40 });
    await goOn();
    expect((await answer).status).toBe(409);
    await recharge.goOn();
    expect(await world.closed(recharge.eventId)).toEqual(RECHARGED);
    expect(await world.budgetOf(organization.teamId)).toBe(70.5);
  });

  test('is the beginning of another step, though no hold was opened for it: no two recharges are said to have made one', async () => {
    const { organization } = await world.recharged();
    await world.setBudget(organization.teamId, 12);
    const { goOn, answer } = await acceptanceHeld(organization);
    await goOn();
    expect((await answer).status).toBe(200);
    expect(await world.alerted(organization, { max_budget: 12 })).toEqual(RECHARGED);
    expect(await world.findingsOf(organization)).toEqual([]);
  });

  /** A person has been shown the budget as it is, and the acceptance of it is under way. */
  async function acceptanceHeld({ id, teamId }: Organization) {
    const look = await world.kmsFault({ ...READ_BUDGET, contains: teamId, when: 'after', action: HOLD });
    const answer = world.admin.post(`/api/v1/organizations/${id}/accept-budget`, { reason: 'it was meant' });
    await look.struck();
    return { answer, goOn: () => look.remove() };
  }
});

describe('an organization', () => {
  test('cannot be deleted while an event of it is open', async () => {
    const organization = await world.organization();
    const look = await world.kmsFault({ ...READ_BUDGET, contains: organization.teamId, action: HOLD });
    const eventId = await world.accepted(organization);
    await look.struck();
    expect(await world.rechargesOf(organization)).toEqual([]);
    expect((await world.admin.delete(`/api/v1/organizations/${organization.id}`)).status).toBe(409);
    await look.remove();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  test('that gets a team while it is being deleted stays: 409 to the deletion', async () => {
    const organization = await world.organization();
    const client = await world.sql.connect();
    try {
      await client.query('begin');
      await client.query(`insert into team (c_organization_id, c_team_id, l_user_id, name) values ($1, 'blue', $2, 'blue')`, [
        organization.id,
        `${organization.id}/blue`,
      ]);
      const deletion = world.admin.delete(`/api/v1/organizations/${organization.id}`);
      await world.waitsForLock('delete from organization_balance_config');
      await client.query('commit');
      const { status, data } = await deletion;
      expect([status, data.detail]).toEqual([409, expect.stringMatching(/^the organization has teams: remove blue first, /)]);
    } finally {
      client.release(true);
    }
    expect((await world.admin.get(`/api/v1/organizations/${organization.id}`)).status).toBe(200);
  });

  test('that is deleted while a team is made for it: 409 to the team', async () => {
    const organization = await world.organization();
    const client = await world.sql.connect();
    try {
      await client.query('begin');
      await client.query('delete from organization_balance_config where c_organization_id = $1', [organization.id]);
      const making = world.admin.post(`/api/v1/organizations/${organization.id}/teams`, { c_team_id: 'blue' });
      await world.waitsForLock('insert into "team"');
      await client.query('commit');
      const { status, data } = await making;
      expect([status, data.detail]).toEqual([409, expect.stringMatching(/removed meanwhile/)]);
    } finally {
      client.release(true);
    }
  });

  test('does not move to another team while a recharge of the present one is open', async () => {
    const organization = await world.organization();
    const { eventId, goOn } = await world.chargedButNotGranted(organization);
    const move = () =>
      world.admin.patch(`/api/v1/organizations/${organization.id}`, { litellm_team_id: `${organization.teamId}-new`, create_team: true });
    expect((await move()).status).toBe(409);
    await goOn();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_AFTER);
    expect((await move()).status).toBe(200);
  });

  // PostgreSQL and JavaScript read the sign of such an offset differently: the day of the daily limit would
  // be another one.
  test.each(['+05:30', '-03:00', 'Mars/Olympus'])('has no time zone %s, neither when it is created nor later', async (timeZone) => {
    const organization = await world.organization();
    const refused = { status: 422, data: { type: 'urn:bill-service:problem:invalid', detail: expect.stringContaining('time_zone') } };
    const settings = { stripe_customer_id: organization.customerId, minimum_balance: '2.00', target_balance: '20.00' };
    const wanted = {
      ...settings,
      c_organization_id: `${organization.id}-zone`,
      litellm_team_id: `${organization.teamId}-zone`,
      time_zone: timeZone,
    };
    expect(await world.admin.post('/api/v1/organizations', wanted)).toMatchObject(refused);
    expect(await world.admin.patch(`/api/v1/organizations/${organization.id}`, { time_zone: timeZone })).toMatchObject(refused);
    expect((await world.admin.get(`/api/v1/organizations/${wanted.c_organization_id}`)).status).toBe(404);
  });

  test('whose team has a max_budget beyond any that can be computed is not charged: that budget is unlimited', async () => {
    const organization = await world.organization();
    await world.setBudget(organization.teamId, 1e308);
    expect(await world.alerted(organization)).toMatchObject({ outcome: 'unlimited_budget' });
    expect(await world.budgetOf(organization.teamId)).toBe(1e308);
    await expectUncharged(world, organization);
  });
});
