/**
 * A mistake in the name of an organization's LiteLLM team makes no team, charges nobody, and is told with the
 * team that was meant.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { examineTeams } from '../../src/cli/doctor/litellm.ts';
import { Database } from '../../src/database/database.ts';
import { KmsClient } from '../../src/kms/client.ts';
import { CONFLICT, expectProblem, INVALID, NOT_FOUND, ORGANIZATIONS } from '../support/admin.ts';
import type { KmsState } from '../support/answers.ts';
import { DECLINED, HELD, RECHARGED, SUCCEEDED } from '../support/books.ts';
import { expectUncharged } from '../support/expectations.ts';
import { ALWAYS, HOLD, READ_BUDGET, UNAVAILABLE } from '../support/faults.ts';
import { type Organization, SOME_CUSTOMER, World } from '../support/world.ts';

const UNASKED = [503, 'unavailable'] as const;
/** The commands give up after so long. */
const CALLER_WAITS_MS = 15_000;

let world: World;
let database: Database;
beforeAll(async () => {
  world = await World.start();
  database = await Database.open(world.config.databaseUrl);
});
afterEach(() => world.clearFaults());
afterAll(async () => {
  await database.close();
  await world.close();
});

let serial = 0;
/** An organization with all that it needs but a team; its name is like none of another test. */
function draft(changes: Record<string, unknown> = {}): { c_organization_id: string } & Record<string, unknown> {
  const id = `${randomUUID()}-${++serial}`;
  return { c_organization_id: id, stripe_customer_id: SOME_CUSTOMER, minimum_balance: '5.00', target_balance: '20.00', ...changes };
}

/** A paying customer whose team is asked for. The synchronisation has made it. */
async function made(card = 'pm_card_visa'): Promise<Organization> {
  const customer = await world.stripe.customers.create({});
  const paymentMethod = await world.stripe.paymentMethods.attach(card, { customer: customer.id });
  await world.stripe.customers.update(customer.id, { invoice_settings: { default_payment_method: paymentMethod.id } });
  const body = draft({ stripe_customer_id: customer.id, create_team: true });
  const { status, data } = await world.admin.post(ORGANIZATIONS, body);
  expect([status, data.create_team, data.litellm_seen_at]).toEqual([201, true, null]);
  const { c_organization_id: id } = body;
  expect(await synced(id)).toEqual([['team_missing', 'create', 'done']]);
  return { id, teamId: id, customerId: customer.id, teamKey: '' };
}

async function teams(): Promise<KmsState['teams']> {
  return (await world.kmsState()).teams;
}

/** A synchronisation of one organization, and what it has found about it. */
async function synced(id: string): Promise<[string, string | null, string][]> {
  const { data } = await world.admin.post('/api/v1/sync', { organization_ids: [id] });
  const run = await world.eventually(async () => {
    const { data: seen } = await world.admin.get(`/api/v1/sync/${data.id}`);
    return seen.status !== 'running' && seen;
  }, 'the synchronisation is over');
  return run.items.map(({ kind, action, outcome }: Record<string, string>) => [kind, action, outcome]);
}

/** What a sweep says of an organization. */
async function sweptFor({ id }: Pick<Organization, 'id'>): Promise<{ isUnused: boolean; eventId: string | undefined }> {
  const { reported, unused = [] } = await world.sweep();
  return { isUnused: unused.includes(id), eventId: reported.find(({ organizationId }) => organizationId === id)?.eventId };
}

describe('a new organization', () => {
  test('case 77: with a mistyped team is 422, names the team that was meant and how to have one made, and makes nothing', async () => {
    await world.makeTeam({ team_id: 'acme-prod', team_alias: 'Acme in production', max_budget: 100 });
    const before = await world.kmsState();
    const body = draft({ litellm_team_id: 'acme-prdo' });
    const refused = await world.admin.post(ORGANIZATIONS, body);
    expectProblem(refused, INVALID, ['litellm_team_id']);
    expect(refused.data.detail).toBe(
      'litellm_team_id: LiteLLM has no team acme-prdo; it has acme-prod ("Acme in production"): correct it, or pass create_team (--create-team) to have the team made',
    );
    expectProblem(await world.admin.get(`${ORGANIZATIONS}/${body.c_organization_id}`), NOT_FOUND);
    const after = await world.kmsState();
    expect(after.teams).toEqual(before.teams);
    expect(after.requests.slice(before.requests.length).map(({ method }) => method)).not.toContain('POST');
  });

  test('that leaves its team out and has an id that is no team of LiteLLM is 422, too', async () => {
    expectProblem(await world.admin.post(ORGANIZATIONS, draft()), INVALID, ['litellm_team_id']);
    expectProblem(await world.admin.post(ORGANIZATIONS, draft({ create_team: false })), INVALID, ['litellm_team_id']);
  });

  test('with the alias of a team instead of its id is told the id', async () => {
    const teamId = randomUUID();
    await world.makeTeam({ team_id: teamId, team_alias: 'initech-live' });
    const { data } = await world.admin.post(ORGANIZATIONS, draft({ litellm_team_id: 'initech-live' }));
    expect(data.detail).toContain(`it has ${teamId} ("initech-live"):`);
  });

  test('is told at most three teams, those first that no organization has', async () => {
    await world.organization({ teamId: 'hooli-eu' });
    for (const team_id of ['hooli-eu-1', 'hooli-eu-2']) await world.makeTeam({ team_id });
    const { data } = await world.admin.post(ORGANIZATIONS, draft({ litellm_team_id: 'hooli-ue' }));
    expect(data.detail).toMatch(/it has hooli-eu-1 and hooli-eu-2 and hooli-eu \(.*of organization org-\d+\):/);
    await world.makeTeam({ team_id: 'hooli-eu-3' });
    const { data: full } = await world.admin.post(ORGANIZATIONS, draft({ litellm_team_id: 'hooli-ue' }));
    expect(full.detail).toContain('it has hooli-eu-1 and hooli-eu-2 and hooli-eu-3:');
  });

  test('with a team that LiteLLM has is made at once, and with one of another organization it is 409', async () => {
    const { teamId } = await world.organization();
    expectProblem(await world.admin.post(ORGANIZATIONS, draft({ litellm_team_id: teamId })), CONFLICT);
    await world.deleteTeam(teamId);
    expectProblem(await world.admin.post(ORGANIZATIONS, draft({ litellm_team_id: teamId })), CONFLICT);
  });

  test('with the id of another is 409, whatever its team and whether LiteLLM can be asked or not', async () => {
    const { id } = await world.organization();
    expectProblem(await world.admin.post(ORGANIZATIONS, draft({ c_organization_id: id })), CONFLICT);
    await world.kmsFault({ path: '/**', times: ALWAYS, action: UNAVAILABLE });
    expectProblem(await world.admin.post(ORGANIZATIONS, draft({ c_organization_id: id })), CONFLICT);
  });

  test('is 422 without any name while LiteLLM cannot list its teams', async () => {
    await world.kmsFault({ path: '/v2/team/list', times: ALWAYS, action: UNAVAILABLE });
    const refused = await world.admin.post(ORGANIZATIONS, draft({ litellm_team_id: 'acme-prdo' }));
    expectProblem(refused, INVALID, ['litellm_team_id']);
    expect(refused.data.detail).toMatch(/no team acme-prdo: correct it/);
  });
});

describe('while LiteLLM cannot be asked', () => {
  test.each([
    ['is unavailable', UNAVAILABLE],
    ['has lost its database and answers 404', { kind: 'respond', status: 404, body: {} }],
    ['refuses our key', { kind: 'respond', status: 401, body: {} }],
    ['may not be read by our key', { kind: 'respond', status: 403, body: {} }],
  ] as const)('because it %s, nothing is stored, and what to do is said', async (_what, action) => {
    await world.kmsFault({ path: '/**', times: ALWAYS, action });
    const body = draft();
    const refused = await world.admin.post(ORGANIZATIONS, body);
    expectProblem(refused, UNASKED);
    expect(refused.data.detail).toMatch(/^LiteLLM cannot be asked whether it has the team .*: try again, or pass create_team/);
    expect((await world.admin.get(`${ORGANIZATIONS}/${body.c_organization_id}`)).status).toBe(404);
    expect((await world.admin.post(ORGANIZATIONS, { ...body, create_team: true })).status).toBe(201);
  });

  test('because it does not answer, that is said before the caller has left', async () => {
    const look = await world.kmsFault({ ...READ_BUDGET, times: ALWAYS, action: HOLD });
    const body = draft();
    const refused = await world.admin.post(ORGANIZATIONS, body, { timeout: CALLER_WAITS_MS });
    expectProblem(refused, UNASKED);
    await look.remove();
    expect((await world.admin.get(`${ORGANIZATIONS}/${body.c_organization_id}`)).status).toBe(404);
  });

  test('an organization keeps its team, and all else of it can be changed', async () => {
    const { id, teamId } = await world.organization();
    await world.kmsFault({ path: '/**', times: ALWAYS, action: UNAVAILABLE });
    expectProblem(await world.admin.patch(`${ORGANIZATIONS}/${id}`, { litellm_team_id: 'elsewhere', name: 'Changed' }), UNASKED);
    const { status, data } = await world.admin.patch(`${ORGANIZATIONS}/${id}`, { litellm_team_id: teamId, target_balance: '30.00' });
    expect([status, data.name, data.litellm_team_id]).toEqual([200, id, teamId]);
  });
});

describe('another team for an organization', () => {
  test('that is mistyped is 422 and changes nothing', async () => {
    const organization = await world.organization({ teamId: 'umbrella-prod' });
    const path = `${ORGANIZATIONS}/${organization.id}`;
    const before = (await world.admin.get(path)).data;
    const refused = await world.admin.patch(path, { name: 'changed', litellm_team_id: 'umbrella-prdo' });
    expectProblem(refused, INVALID, ['litellm_team_id']);
    expect(refused.data.detail).toContain(`it has umbrella-prod ("${organization.id}", of organization ${organization.id}):`);
    expect((await world.admin.get(path)).data).toEqual(before);
  });

  test('is made when that is asked for, and that does not ask for the one after it', async () => {
    const { id } = await world.organization();
    const path = `${ORGANIZATIONS}/${id}`;
    const [next, mistyped] = [`next-${randomUUID()}`, `mistyped-${randomUUID()}`];
    expect((await world.admin.patch(path, { litellm_team_id: next, create_team: true })).data).toMatchObject({ create_team: true });
    expect(await synced(id)).toContainEqual(['team_missing', 'create', 'done']);
    expectProblem(await world.admin.patch(path, { litellm_team_id: mistyped }), INVALID, ['litellm_team_id']);
    const { teamId } = await world.organization();
    expectProblem(await world.admin.patch(path, { litellm_team_id: teamId }), CONFLICT);
    await world.makeTeam({ team_id: mistyped });
    expect((await world.admin.patch(path, { litellm_team_id: mistyped })).data).toMatchObject({ create_team: false });
  });
});

describe('the synchronisation', () => {
  test('case 77: makes no team that was not asked for, reports it, and makes it once it is asked for', async () => {
    const body = draft();
    const { c_organization_id: id } = body;
    await world.makeTeam({ team_id: id });
    expect((await world.admin.post(ORGANIZATIONS, body)).status).toBe(201);
    await world.deleteTeam(id);
    await world.admin.post(`${ORGANIZATIONS}/${id}/teams`, { c_team_id: 'blue' });
    expect(await synced(id)).toEqual([['team_not_found', null, 'needs_person']]);
    expect(await synced(id)).toEqual([['team_not_found', null, 'needs_person']]);
    expect((await teams())[id]).toBeUndefined();

    await world.admin.patch(`${ORGANIZATIONS}/${id}`, { create_team: true });
    expect(await synced(id)).toContainEqual(['team_missing', 'create', 'done']);
    expect((await teams())[id]).toMatchObject({ max_budget: 0 });
  });

  test('does not make a team again that was deleted, though it was asked for once', async () => {
    const { id, teamId } = await made();
    await world.deleteTeam(teamId);
    await world.makeTeam({ team_id: `again-${teamId}` });
    expect(await synced(id)).toEqual([['team_deleted', null, 'needs_person']]);
    expect((await teams())[teamId]).toBeUndefined();
  });
});

test('a team that a sweep alone has seen was there, and is made again with what was left: create_team says so, and makes none', async () => {
  const body = draft({ stripe_customer_id: (await made()).customerId });
  const { c_organization_id: id } = body;
  await world.makeTeam({ team_id: id, max_budget: 15 });
  await world.spend(id, 3);
  expect((await world.admin.post(ORGANIZATIONS, body)).status).toBe(201);
  await world.sweep();
  await world.deleteTeam(id);

  const how = `bill status --org ${id} says by which call`;
  const { data } = await world.admin.patch(`${ORGANIZATIONS}/${id}`, { create_team: true });
  expect(data.warnings).toEqual([expect.stringContaining(how)]);
  expect(data.warnings).toEqual([expect.stringContaining('create_team makes no team again that was deleted')]);
  expect(await synced(id)).toEqual([['team_deleted', null, 'needs_person']]);
  const { rows } = await world.sql.query('select reason from sync_item where organization_id = $1', [id]);
  expect(rows).toEqual([{ reason: expect.stringContaining(how) }]);
  expect(JSON.stringify(await examineTeams(database.fork(), new KmsClient(world.config.kms)))).toContain('no longer has the team');

  await world.makeTeam({ team_id: id, max_budget: 12 });
  expect(await sweptFor({ id })).toEqual({ isUnused: false, eventId: undefined });
});

describe('a team that was made for an organization', () => {
  test('case 77: is not charged for by the sweep while nobody uses it, and the sweep says so', async () => {
    const organization = await made();
    expect(await sweptFor(organization)).toEqual({ isUnused: true, eventId: undefined });
    expect(await sweptFor(organization)).toEqual({ isUnused: true, eventId: undefined });
    await expectUncharged(world, organization);
    expect(await world.budgetOf(organization.teamId)).toBe(0);
  });

  test('is no charge that a change of its settings warns of, before somebody uses it', async () => {
    const organization = await made();
    const warnings = async () =>
      (await world.admin.patch(`${ORGANIZATIONS}/${organization.id}`, { minimum_balance: '5.00' })).data.warnings;
    expect(await warnings()).toEqual(['the balance is 0.00 USD, and 20.00 USD is charged from the first call or alert of its team on']);
    await world.spend(organization.teamId, 0.25);
    expect(await warnings()).toEqual([expect.stringContaining('20.25 USD is charged within a minute')]);
  });

  test('is charged for by the sweep from its first spend on', async () => {
    const organization = await made();
    await world.spend(organization.teamId, 0.000001);
    const { isUnused, eventId = '' } = await sweptFor(organization);
    expect(isUnused).toBe(false);
    expect(await world.closed(eventId)).toEqual(RECHARGED);
  });

  test('is charged for at once when an alert asks, and by the sweep after that, whatever came of the alert', async () => {
    const organization = await made('pm_card_chargeCustomerFail');
    expect(await world.alerted(organization)).toEqual(DECLINED);
    const { isUnused, eventId = '' } = await sweptFor(organization);
    expect(isUnused).toBe(false);
    expect(await world.closed(eventId)).toEqual(HELD);

    const filled = await made();
    expect(await world.alerted(filled)).toEqual(RECHARGED);
    await world.spend(filled.teamId, 19);
    expect((await world.closed((await sweptFor(filled)).eventId ?? '')).outcome).toBe(SUCCEEDED);
  });

  test('counts as asked for by an alert that led to no recharge, and by a recharge that only the sweep asked for', async () => {
    const [refused, recharged] = [await made(), await made()];
    await world.admin.patch(`${ORGANIZATIONS}/${refused.id}`, { max_daily_recharges: 0 });
    expect((await world.alerted(refused)).outcome).toBe('daily_limit_reached');
    await world.admin.patch(`${ORGANIZATIONS}/${refused.id}`, { max_daily_recharges: 10 });
    await world.alerted(recharged);
    await world.sql.query("update webhook_event set source = 'sweep' where organization_id = $1", [recharged.id]);
    await world.setBudget(recharged.teamId, 3);
    const { reported } = await world.sweep();
    expect(reported.map(({ organizationId }) => organizationId)).toEqual(expect.arrayContaining([refused.id, recharged.id]));
  });

  test('is not asked to be filled by an event that asks for nothing', async () => {
    const organization = await made();
    const { data } = await world.alert(organization.teamId, { body: { event: 'key_created', event_group: 'key' } });
    expect(data.status).toBe('ignored');
    expect(await sweptFor(organization)).toEqual({ isUnused: true, eventId: undefined });
  });

  test('and one that was there before is charged for by the sweep, unspent as it is', async () => {
    const organization = await world.organization({ budget: 1, spend: 0 });
    const { isUnused, eventId = '' } = await sweptFor(organization);
    expect(isUnused).toBe(false);
    expect(await world.closed(eventId)).toEqual(RECHARGED);
  });
});

describe('bill doctor', () => {
  const readings = async () => examineTeams(database.fork(), new KmsClient(world.config.kms));

  test('shows alerts of a team that no organization has beside the organization whose team is missing', async () => {
    const [meant, mistyped] = ['soylent-prod', 'soylent-prdo'];
    const body = draft({ litellm_team_id: mistyped });
    await world.makeTeam({ team_id: mistyped });
    await world.admin.post(ORGANIZATIONS, body);
    await world.alert(meant);
    const about = async (check: string) => (await readings()).find((reading) => reading.check === check);
    expect(await about(meant)).toMatchObject({ area: 'alerts', verdict: 'note' });

    await world.deleteTeam(mistyped);
    expect(await about(body.c_organization_id)).toMatchObject({ verdict: 'change', advice: expect.stringContaining('--create-team') });
    expect(await about(meant)).toMatchObject({
      verdict: 'change',
      seen: expect.stringMatching(
        `^alerts come for team ${meant}, which no organization has \\(last .* ago\\); organization ${body.c_organization_id} has team ${mistyped}, which LiteLLM does not have$`,
      ),
      advice: `set --team: bill org set ${body.c_organization_id} --team ${meant}`,
    });

    await world.makeTeam({ team_id: meant });
    expect((await world.admin.patch(`${ORGANIZATIONS}/${body.c_organization_id}`, { litellm_team_id: meant })).status).toBe(200);
    expect(await about(meant)).toBeUndefined();
  });

  test('shows them beside it also when the team was made again under an id that is not alike', async () => {
    await world.sql.query('update organization_balance_config set auto_recharge_enabled = false');
    const organization = await made();
    await world.deleteTeam(organization.teamId);
    const again = randomUUID();
    await world.alert(again);
    const reading = (await readings()).find(({ check }) => check === again);
    expect(reading?.verdict).toBe('note');
    expect(reading?.seen).toContain(`organization ${organization.id} has team ${organization.teamId}, which LiteLLM does not have`);
  });
});

test('an organization of before this rule whose team was never seen still gets it, and no other does', async () => {
  const [unseen, seen] = [draft(), draft()];
  for (const body of [unseen, seen]) await world.admin.post(ORGANIZATIONS, { ...body, create_team: true });
  await world.sql.query('update organization_balance_config set litellm_seen_at = now() where c_organization_id = $1', [
    seen.c_organization_id,
  ]);
  await world.sql.query('alter table organization_balance_config drop column create_team');
  await world.sql.query("delete from bill_migration where name = '0014-create-team'");
  expect(await database.migrate()).toEqual(['0014-create-team']);
  const asked = async ({ c_organization_id: id }: { c_organization_id: string }) =>
    (await world.admin.get(`${ORGANIZATIONS}/${id}`)).data.create_team;
  expect([await asked(unseen), await asked(seen)]).toEqual([true, false]);
});
