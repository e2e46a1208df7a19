/** What a person may mistype, and what does not look like success then: names, filters, cursors, inputs of workflows. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ApplicationFailure, WorkflowFailedError } from '@temporalio/client';
import { expectProblem, INVALID, NOT_FOUND, ORGANIZATIONS } from '../support/admin.ts';
import { type Organization, World } from '../support/world.ts';

let world: World;
let organization: Organization;
let eventId: string;
/** Like the organization's id, but for one letter. */
let mistyped: string;

beforeAll(async () => {
  world = await World.start();
  ({ organization, eventId } = await world.recharged());
  mistyped = organization.id.replace('org', 'rog');
});
afterAll(() => world.close());

async function refused(path: string, params: Record<string, string>): Promise<string> {
  const response = await world.admin.get(path, { params });
  expectProblem(response, INVALID);
  return response.data.detail;
}

describe('a filter', () => {
  test.each(['/api/v1/recharges', '/api/v1/reversals', '/api/v1/holds', '/api/v1/outbound-events', '/webhooks/events'])(
    'of %s by an organization that there is not names those that there are',
    async (path) => {
      const present = await world.admin.get(path, { params: { organization_id: organization.id } });
      expect(present.status).toBe(200);
      expect(await refused(path, { organization_id: mistyped })).toBe(
        `organization_id: there is no organization ${mistyped}; like it: ${organization.id}`,
      );
      expect(await refused(path, { organization_id: 'something else' })).toMatch(
        `there is no organization something else; there are ${organization.id}`,
      );
    },
  );

  test('by an organization that was removed shows what is kept of it', async () => {
    const { id } = await world.organization();
    await world.admin.post('/api/v1/holds', { scope: 'organization', subject: id, reason: 'to be removed' });
    expect((await world.admin.delete(`${ORGANIZATIONS}/${id}`)).status).toBe(204);
    const { data } = await world.admin.get('/api/v1/outbound-events', { params: { organization_id: id } });
    expect(data.data).toContainEqual(expect.objectContaining({ organization_id: id, type: 'hold.opened' }));
  });

  test.each<[string, string, RegExp]>([
    ['/api/v1/recharges', 'status', /^status: has to be one of reserved, .*cancelled \(given: "bogus"\)$/],
    ['/api/v1/reversals', 'status', /^status: has to be one of .*needs_attention.*\(given: "bogus"\)$/],
    ['/api/v1/holds', 'reason', /^reason: has to be one of operator, .*\(given: "bogus"\)$/],
    ['/api/v1/outbound-events', 'type', /^type: has to be one of .*recharge\.succeeded.*\(given: "bogus"\)$/],
    ['/webhooks/events', 'outcome', /^outcome: has to be one of succeeded, .*above_minimum.*\(given: "bogus"\)$/],
    ['/webhooks/events', 'team_id', /^team_id: no organization has the LiteLLM team bogus, and no event names it; there are /],
    ['/webhooks/events', 'event_type', /^event_type: no event has the type bogus; there are budget_crossed$/],
    ['/webhooks/events', 'processed', /^processed: has to be one of true, false \(given: "bogus"\)$/],
    [
      '/api/v1/recharges',
      'organisation_id',
      /^organisation_id: is not known here; known are limit, cursor, organization_id, status, stuck$/,
    ],
  ])('of %s by another %s than there are is refused with those that there are', async (path, filter, said) => {
    expect(await refused(path, { [filter]: 'bogus' })).toMatch(said);
  });

  test.each([
    ['/api/v1/recharges', 'organization_id'],
    ['/api/v1/reversals', 'organization_id'],
    ['/api/v1/holds', 'organization_id'],
    ['/api/v1/outbound-events', 'organization_id'],
    ['/webhooks/events', 'organization_id'],
    ['/webhooks/events', 'team_id'],
    ['/webhooks/events', 'event_type'],
  ])('of %s by %s that is empty does not list everything', async (path, filter) => {
    expect(await refused(path, { [filter]: '' })).toBe(`${filter}: may not be empty (given: "")`);
  });

  test('by a team or a type that only an event has is none of them', async () => {
    await world.alert('nobodys-team', { body: { event: 'soft_budget_crossed' } });
    for (const params of [{ team_id: 'nobodys-team' }, { event_type: 'soft_budget_crossed' }]) {
      const { data } = await world.admin.get('/webhooks/events', { params });
      expect(data.data).toMatchObject([{ team_id: 'nobodys-team', event_type: 'soft_budget_crossed', outcome: 'unknown_team' }]);
    }
  });
});

describe('a cursor', () => {
  test.each([
    ORGANIZATIONS,
    '/api/v1/recharges',
    '/api/v1/reversals',
    '/api/v1/holds',
    '/api/v1/outbound-events',
    '/api/v1/outbound-endpoints',
    '/api/v1/sync',
    '/webhooks/events',
  ])('of %s that is none is refused', async (path) => {
    expect(await refused(path, { cursor: 'blah' })).toMatch(/^cursor: is not a cursor of this list: take next_cursor/);
  });
});

describe('a path', () => {
  test('with an organization that there is not names one that may be meant', async () => {
    for (const path of [mistyped, `${mistyped}/balance`, `${mistyped}/teams`]) {
      const response = await world.admin.get(`${ORGANIZATIONS}/${path}`);
      expectProblem(response, NOT_FOUND);
      expect(response.data.detail).toBe(`there is no organization ${mistyped}; like it: ${organization.id}`);
    }
  });

  test('shows one event, and says when there is none', async () => {
    const { status, data } = await world.admin.get(`/webhooks/events/${eventId}`);
    expect([status, data]).toEqual([200, expect.objectContaining({ id: eventId, organization_id: organization.id, outcome: 'succeeded' })]);
    expectProblem(await world.admin.get('/webhooks/events/evt_none'), NOT_FOUND);
  });
});

describe('a body', () => {
  test('without its Content-Type, or with another one, is refused with the one to send', async () => {
    for (const [given, said] of [
      [undefined, 'application/x-www-form-urlencoded'],
      ['text/plain', 'text/plain'],
    ]) {
      const headers = given ? { 'content-type': given } : {};
      const { status, data } = await world.admin.post('/api/v1/holds', '{"scope":"service","reason":"x"}', { headers });
      expect([status, data.detail]).toEqual([415, `send the body with Content-Type: application/json (given: ${said})`]);
    }
  });

  test('that is missing is asked for; one that may be left out is not', async () => {
    const { status, data } = await world.admin.post(ORGANIZATIONS);
    expect([status, data.detail]).toEqual([422, 'the body is missing: send a JSON object with Content-Type: application/json']);
    expect((await world.admin.post(`${ORGANIZATIONS}/${organization.id}/resume`)).status).toBe(200);
  });
});

describe('the input of a workflow', () => {
  /** Type and message of the failure that the run ends with. */
  async function failureOf(type: string, ...args: unknown[]): Promise<{ type: string | null | undefined; message: string }> {
    const workflowId = `typo-${randomUUID()}`;
    const error = await world.temporal.workflow.execute(type, { workflowId, taskQueue: world.name, args }).catch((reason) => reason);
    expect(error).toBeInstanceOf(WorkflowFailedError);
    let cause = (error as WorkflowFailedError).cause;
    while (cause?.cause instanceof ApplicationFailure) cause = cause.cause;
    expect(cause).toBeInstanceOf(ApplicationFailure);
    return { type: (cause as ApplicationFailure).type, message: (cause as ApplicationFailure).message };
  }

  test.each<[string, unknown, RegExp]>([
    ['teamSyncWorkflow', { foo: 1 }, /there is no field foo; its fields are organization_ids \(.*\), dry_run \(true or false\), run_id/],
    ['teamSyncWorkflow', { dryrun: true }, /there is no field dryrun; /],
    ['teamSyncWorkflow', { dry_run: 'yes' }, /dry_run has to be true or false \(given: "yes"\)/],
    ['teamSyncWorkflow', { organization_ids: 'acme' }, /organization_ids has to be a list of strings, at least one \(given: "acme"\)/],
    ['teamSyncWorkflow', { organization_ids: [] }, /organization_ids has to be a list of strings, at least one \(given: \[\]\)/],
    ['teamSyncWorkflow', ['acme'], /it is \["acme"\], not an object/],
    ['teamSyncWorkflow', { progress: {} }, /progress has to be what a run hands on to its next part \(given: \{\}\)/],
    ['teamSyncWorkflow', { progress: [] }, /progress has to be what a run hands on/],
    ['balanceSweepWorkflow', { dry_run: true }, /there is no field dry_run; it takes none/],
    ['reconcileWorkflow', { progress: {} }, /progress has to be what a run hands on to its next part \(given: \{\}\)/],
    ['reconcileWorkflow', { fixx: true }, /there is no field fixx; its fields are fix \(true or false\)/],
    ['retentionWorkflow', { table: 'webhook_event' }, /there is no field table; it takes none/],
    ['rechargeWorkflow', { event_id: 'evt_1' }, /eventId is missing; its fields are eventId \(a string\)/],
    ['reversalWorkflow', {}, /rechargeId is missing; its fields are rechargeId/],
  ])('%s does not know fails it at once: %j', async (type, input, said) => {
    const failure = await failureOf(type, input);
    expect(failure).toEqual({ type: 'InvalidInput', message: expect.stringMatching(said) });
    expect(failure.message).toMatch(new RegExp(`^the input of ${type} cannot be used: `));
  });

  test('that names an organization that there is not fails the synchronisation, and its row says why', async () => {
    const said = `organization_ids: there is no organization ${mistyped}; like it: ${organization.id}`;
    expect(await failureOf('teamSyncWorkflow', { organization_ids: [organization.id, mistyped] })).toEqual({
      type: 'InvalidInput',
      message: said,
    });
    const { data } = await world.admin.get('/api/v1/sync', { params: { limit: 1 } });
    expect(data.data).toMatchObject([{ status: 'failed', failure: said }]);
    const refusedByApi = await world.admin.post('/api/v1/sync', { organization_ids: [mistyped] });
    expectProblem(refusedByApi, INVALID, ['organization_ids']);
    expect(refusedByApi.data.detail).toBe(said);
  });

  test.each<[string, unknown, string, string]>([
    ['teamSyncWorkflow', { run_id: 'nope' }, 'InvalidInput', 'run_id: there is no synchronisation nope'],
    ['reversalWorkflow', { rechargeId: 'nope' }, 'InvalidInput', 'rechargeId: there is no recharge nope'],
    ['rechargeWorkflow', { eventId: 'nope' }, 'UnexpectedStatus', 'event nope or its organization is gone from the database'],
  ])('that names what there is not fails %s at once: %j', async (workflow, input, type, message) => {
    expect(await failureOf(workflow, input)).toEqual({ type, message });
  });

  test('may be null, or an empty object', async () => {
    for (const args of [[null], [{}], []]) {
      const options = { workflowId: `no-typo-${randomUUID()}`, taskQueue: world.name, args };
      await expect(world.temporal.workflow.execute('balanceSweepWorkflow', options)).resolves.toMatchObject({ failedPages: [] });
    }
  });
});
