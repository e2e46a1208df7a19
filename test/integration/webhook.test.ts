/**
 * What LiteLLM posts: an alert is kept before it is answered, and nothing is charged twice for it, however
 * often it comes.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { WorkflowNotFoundError } from '@temporalio/client';
import { freePort } from '../../sandbox/ports.ts';
import { namespaceOf } from '../../src/temporal/connection.ts';
import { ABOVE_MINIMUM, BUDGET_AFTER, CHARGED_ONCE, RECHARGED, SUCCEEDED, UNTOUCHED, unsuccessful } from '../support/books.ts';
import { expectChargedOnce } from '../support/expectations.ts';
import { ALWAYS, CONFIRM, HOLD } from '../support/faults.ts';
import {
  bodyFor,
  JSON_TYPE,
  messageId,
  problem,
  seconds,
  standardHeaders,
  TOLERANCE_S,
  WebhookScene,
  WITH_TOKEN,
} from '../support/webhook-scene.ts';
import type { Organization, World } from '../support/world.ts';

let scene: WebhookScene;
let world: World;
let victim: Organization;
/** An alert that was handled before all others. */
let past: PastAlert;
/** Takes twenty seconds, so it is begun first, and looked at when its turn comes. */
let forgotten: Promise<void>;

beforeAll(async () => {
  scene = await WebhookScene.start();
  ({ world, victim } = scene);
  past = await rechargeThatIsOver();
  forgotten = forgetRun(past.eventId);
  forgotten.catch(() => {}); // the test that awaits it says so
});
afterAll(async () => {
  await Promise.allSettled([forgotten]); // when only some of the tests were run
  await world.close();
});

describe('an authentic alert', () => {
  test('case 1: a valid alert is answered 200 when its row is there, starts one workflow, and is charged once', async () => {
    const organization = await world.organization();
    const body = bodyFor(organization.teamId, { a_field_of_tomorrow: { kept: [1, 'two', null] } });
    const { status, body: answer } = await scene.post(body, standardHeaders(body));
    const rows = await scene.eventsOf(organization.teamId);
    expect([status, answer]).toEqual([200, { event_id: rows[0]?.id, status: 'accepted' }]);
    expect(rows.map(({ payload }) => payload)).toEqual([JSON.parse(body)]);

    await expectOneRun(organization, String(answer['event_id']));
  });

  test('case 1: while the row cannot be written, there is no answer', async () => {
    const body = bodyFor('nobodys-team-waiting');
    const locker = await world.sql.connect();
    await locker.query('begin');
    await locker.query('lock table webhook_event in exclusive mode');
    let isAnswered = false;
    const answer = scene.post(body, standardHeaders(body)).finally(() => {
      isAnswered = true;
    });
    await world.waitsForLock('with incoming');
    const wasAnswered = isAnswered;
    await locker.query('rollback');
    locker.release();
    expect(wasAnswered).toBe(false);
    expect((await answer).status).toBe(200);
    expect(await scene.eventsOf('nobodys-team-waiting')).toHaveLength(1);
  });
});

describe('the same alert again', () => {
  /** Keeps the next recharge open until it is removed, when every copy has arrived. */
  const heldCharge = () => world.stripeFault({ ...CONFIRM, times: ALWAYS, action: HOLD });

  test('case 7: the same id 100 times at once is one workflow, and every answer is 200', async () => {
    const organization = await world.organization();
    const charge = await heldCharge();
    const body = bodyFor(organization.teamId);
    const headers = standardHeaders(body);
    const answers = await Promise.all(Array.from({ length: 100 }, () => scene.post(body, headers)));
    expect(answers.map(({ status }) => status)).toEqual(Array(100).fill(200));
    const [event, ...more] = await scene.eventsOf(organization.teamId);
    expect(more).toEqual([]);
    expect(new Set(answers.map(({ body: answer }) => answer['event_id']))).toEqual(new Set([event?.id]));
    expect(answers.filter(({ body: answer }) => answer['status'] === 'accepted')).toHaveLength(1);

    await charge.remove();
    await expectOneRun(organization, String(event?.id));
  });

  test('100 times at once without an id is one charge, 100 times 200, and one row that counts 99 copies', async () => {
    const organization = await world.organization();
    const charge = await heldCharge();
    const body = bodyFor(organization.teamId);
    const answers = await Promise.all(Array.from({ length: 100 }, () => scene.post(body, JSON_TYPE, { path: WITH_TOKEN })));
    expect(answers.map(({ status }) => status)).toEqual(Array(100).fill(200));
    const [accepted, ...more] = answers.filter(({ body: answer }) => answer['status'] === 'accepted');
    expect(more).toEqual([]);
    const eventId = String(accepted?.body['event_id']);
    expect(new Set(answers.map(({ body: answer }) => answer['event_id']))).toEqual(new Set([eventId]));
    expect(await scene.eventsOf(organization.teamId)).toMatchObject([{ id: eventId, copies: 99, last_copy_at: expect.any(Date) }]);

    await charge.remove();
    await expectOneRun(organization, eventId);
  });

  test('ten times with another spend each, as ten refused requests send it, is one charge', async () => {
    const organization = await world.organization();
    const charge = await heldCharge();
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, i) => world.alert(organization.teamId, { body: { spend: 10.5 + i / 1000 } })),
    );
    expect(answers.map(({ data }) => data.status).sort()).toEqual(['accepted', ...Array(9).fill('duplicate')]);
    const eventId = answers.find(({ data }) => data.status === 'accepted')?.data.event_id;
    expect(await scene.eventsOf(organization.teamId)).toMatchObject([{ id: eventId, copies: 9, highest_spend: '10.509' }]);
    await charge.remove();
    await expectOneRun(organization, eventId);
  });

  test('the id of a copy is a key for good, though the copy has no row: sent again it is counted once, also when all is over', async () => {
    const organization = await world.organization();
    const charge = await heldCharge();
    const eventId = await world.accepted(organization);
    const [id, body] = [messageId(), bodyFor(organization.teamId, { spend: 12 })];
    const send = () => scene.post(body, standardHeaders(body, { id }));
    const duplicate = { status: 200, body: { event_id: eventId, status: 'duplicate' } };
    expect(await Promise.all([send(), send(), send()])).toMatchObject([duplicate, duplicate, duplicate]);
    expect(await scene.eventsOf(organization.teamId)).toMatchObject([{ id: eventId, copies: 1, highest_spend: '12' }]);
    const other = bodyFor(organization.teamId, { spend: 13 });
    expect((await scene.post(other, standardHeaders(other, { id }))).status).toBe(409);

    await charge.remove();
    await expectOneRun(organization, eventId);
    expect(await send()).toMatchObject(duplicate);
    expect(await scene.eventsOf(organization.teamId)).toMatchObject([{ id: eventId, copies: 1 }]);
  });

  test('case 8: the same id with another body is 409, and no charge', async () => {
    const id = messageId();
    const first = bodyFor('nobody-case-8');
    expect((await scene.post(first, standardHeaders(first, { id }))).status).toBe(200);
    const other = bodyFor(victim.teamId);
    await scene.expectRefused(scene.post(other, standardHeaders(other, { id })), 409, 'conflict');
    expect((await scene.post(first, standardHeaders(first, { id }))).body).toMatchObject({ status: 'duplicate' });
  });

  test('case 10: two proxies that report one crossing with different spend are one recharge', async () => {
    const organization = await world.organization();
    const charge = await heldCharge();
    const [one, other] = [bodyFor(organization.teamId, { spend: 10.500123 }), bodyFor(organization.teamId, { spend: 10.7 })];
    const answers = await Promise.all([scene.post(one, standardHeaders(one)), scene.post(other, JSON_TYPE, { path: WITH_TOKEN })]);
    expect(answers.map(({ body: answer }) => answer['status']).sort()).toEqual(['accepted', 'duplicate']);
    const accepted = answers.find(({ body: answer }) => answer['status'] === 'accepted');
    await charge.remove();
    await expectOneRun(organization, String(accepted?.body['event_id']));
  });

  test('case 11: it comes late, when the budget has been raised: no charge', async () => {
    const organization = await world.organization();
    await world.recharge(organization);
    expect(await world.alerted(organization, { spend: 10.4 })).toEqual(ABOVE_MINIMUM);
    await expectChargedOnce(world, organization);
  });

  test('case 11: somebody has raised the budget by hand before it came: no charge', async () => {
    const organization = await world.organization();
    await world.setBudget(organization.teamId, 100);
    expect(await world.alerted(organization)).toEqual(ABOVE_MINIMUM);
    await scene.expectUntouched(organization);
  });
});

describe('case 16: the budget that an alert claims is not what is decided on', () => {
  const CLAIMS = ['null', '0', '-5', '1e308', '1e999', '"ten"', '{}'];

  test.each(CLAIMS)('it claims %s and the team has enough: no charge', async (budget) => {
    const organization = await world.organization({ budget: 100, spend: 1 });
    const body = bodyFor(organization.teamId).replace('"max_budget":10', `"max_budget":${budget}`);
    const { body: answer } = await scene.post(body, standardHeaders(body));
    expect(await world.closed(String(answer['event_id']))).toEqual(ABOVE_MINIMUM);
    await scene.expectUntouched(organization);
  });

  test('it claims all of these at once and the team has run out: one charge', async () => {
    const organization = await world.organization();
    const answers = await Promise.all(
      CLAIMS.map((budget) => {
        const body = bodyFor(organization.teamId).replace('"max_budget":10', `"max_budget":${budget}`);
        return scene.post(body, standardHeaders(body));
      }),
    );
    expect(answers.map(({ status }) => status)).toEqual(CLAIMS.map(() => 200));
    await Promise.all(answers.flatMap(({ body: { status, event_id: id } }) => (status === 'accepted' ? world.closed(String(id)) : [])));
    await expectChargedOnce(world, organization);
  });

  test.each<[string, number | null, string, object]>([
    ['null, unlimited', null, 'unlimited_budget', UNTOUCHED],
    ['0', 0, SUCCEEDED, { ...CHARGED_ONCE, captured: 3050, granted: 3050 }],
    ['1e308', 1e308, 'unlimited_budget', UNTOUCHED],
  ])("LiteLLM's own max_budget is: %s", async (_what, budget, outcome, books) => {
    const organization = await world.organization();
    await world.setBudget(organization.teamId, budget);
    expect((await world.alerted(organization)).outcome).toBe(outcome);
    expect(await world.books(organization)).toEqual(books);
  });
});

describe('case 17: an alert that is not about the budget of one of our teams', () => {
  test('of a team that no organization has is stored, answered 200, and ends as unknown_team', async () => {
    const { status, data } = await world.alert('nobodys-team');
    expect([status, data.status]).toEqual([200, 'accepted']);
    expect(await world.closed(data.event_id)).toEqual(unsuccessful('unknown_team'));
  });

  test('of a team that was deleted in LiteLLM charges nothing', async () => {
    const organization = await world.organization();
    await world.deleteTeam(organization.teamId);
    expect(await world.alerted(organization)).toEqual(unsuccessful('team_not_found'));
    await scene.expectUntouched(organization);
  });

  test.each<[string, Record<string, unknown>]>([
    ['spend_tracked', { event: 'spend_tracked' }],
    ['key_created', { event: 'key_created', event_group: 'key' }],
    ['an event of tomorrow', { event: 'budget_almost_crossed' }],
    ['the test event', { event: 'budget_crossed', event_group: 'key', team_id: null }],
    ...['key', 'user', 'end_user', 'team_member', 'organization', 'project', 'proxy', 'group_of_tomorrow'].map(
      (group): [string, Record<string, unknown>] => [`budget_crossed of the group ${group}`, { event_group: group }],
    ),
    ['no group', { event_group: null }],
    ['no team of a key', { event_group: 'key', team_id: null }],
  ])('is kept and ignored: %s', async (_what, changes) => {
    const { status, data } = await world.alert(victim.teamId, { body: changes });
    expect([status, data.status]).toEqual([200, 'ignored']);
    const { rows } = await world.sql.query('select processed, success, outcome, dispatched_at from webhook_event where id = $1', [
      data.event_id,
    ]);
    expect(rows).toEqual([{ processed: true, success: true, outcome: 'ignored', dispatched_at: null }]);
    await scene.expectUntouched(victim);
  });

  test.each<[string, unknown]>([
    ['no team', null],
    ['a team that is a number', 7],
    ['an empty team', ''],
  ])('is refused where it is about the budget of %s: 400 that says so, and no row', async (_what, team_id) => {
    const id = messageId();
    const { status, data } = await world.alert(victim.teamId, { body: { team_id }, id });
    expect([status, data.type]).toEqual([400, 'urn:bill-service:problem:malformed']);
    expect(data.detail).toBe('the alert is about the budget of a team and has no "team_id", a string');
    expect((await world.sql.query('select from webhook_event where delivery_id = $1', [id])).rowCount).toBe(0);
    await scene.expectUntouched(victim);
  });
});

test('without PostgreSQL an alert is 503 with Retry-After, and the same alert sent again is charged once', async () => {
  const organization = await world.organization();
  const body = bodyFor(organization.teamId);
  const id = messageId();
  await world.withAnotherApi({ DATABASE_URL: `postgres://bill:pw@127.0.0.1:${await freePort()}/bill` }, async (url) => {
    const answer = await scene.post(body, standardHeaders(body, { id }), { url });
    expect(answer).toMatchObject(problem(503, 'unavailable'));
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    expect((await scene.post(body, JSON_TYPE, { url })).status).toBe(401);
    expect((await scene.post('{', JSON_TYPE, { url, path: WITH_TOKEN })).status).toBe(400);
  });
  expect(await scene.eventsOf(organization.teamId)).toEqual([]);
  const { body: answer } = await scene.post(body, standardHeaders(body, { id }));
  expect(answer['status']).toBe('accepted');
  expect(await world.closed(String(answer['event_id']))).toEqual(RECHARGED);
  await expectChargedOnce(world, organization);
});

test('case 9: an alert replayed after the tolerance it is 401; signed anew when Temporal has forgotten it, a duplicate; never charged again', async () => {
  await forgotten;
  const { organization, id, body, eventId } = past;
  expect((await scene.post(body, standardHeaders(body, { id, at: seconds() - TOLERANCE_S - 10 }))).status).toBe(401);
  const replayed = await scene.post(body, standardHeaders(body, { id }));
  expect(replayed).toMatchObject({ status: 200, body: { event_id: eventId, status: 'duplicate' } });
  expect(await scene.eventsOf(organization.teamId)).toHaveLength(1);
  // The team has run out again, and the next crossing is charged: whatever the replay had started would be in
  // its way.
  const next = await world.accepted(organization, { max_budget: BUDGET_AFTER, spend: 35.5 });
  expect(await world.closed(next)).toEqual(RECHARGED);
  expect(await runsOf(organization, next)).toEqual([(await world.runOf(next)).workflowId]);
  expect((await world.books(organization)).charges).toBe(2);
});

/** One workflow, which has recharged the organization once. */
async function expectOneRun(organization: Organization, eventId: string): Promise<void> {
  expect(await world.closed(eventId)).toEqual(RECHARGED);
  expect(await runsOf(organization, eventId)).toEqual([(await world.runOf(eventId)).workflowId]);
  await expectChargedOnce(world, organization);
}

/** The workflows that Temporal has of an organization, the last of them that of this event. */
function runsOf({ id }: Organization, eventId: string): Promise<string[]> {
  return world.runs(`OrganizationId = '${id}'`, eventId);
}

type PastAlert = { organization: Organization; id: string; body: string; eventId: string };

/** A team was recharged, and has run out again. */
async function rechargeThatIsOver(): Promise<PastAlert> {
  const organization = await world.organization();
  const [id, body] = [messageId(), bodyFor(organization.teamId)];
  const eventId = String((await scene.post(body, standardHeaders(body, { id }))).body['event_id']);
  await world.closed(eventId);
  await world.spend(organization.teamId, 25);
  return { organization, id, body, eventId };
}

/** Has Temporal delete a run, as it does when the retention is over, and waits until it has. */
async function forgetRun(eventId: string): Promise<void> {
  const run = await world.runOf(eventId);
  await run.result();
  const namespace = namespaceOf(world.config.temporal);
  await world.temporal.workflowService.deleteWorkflowExecution({ namespace, workflowExecution: { workflowId: run.workflowId } });
  const isGone = () =>
    run.describe().then(
      () => false,
      (error) => error instanceof WorkflowNotFoundError,
    );
  await world.eventually(isGone, 'the run is forgotten');
}
