/** The service beside each LiteLLM that the stand-in plays, where the versions differ for it. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { type LaunchedServer, launch } from '../../sandbox/launch.ts';
import { VERSIONS } from '../../sandbox/litellm/version.ts';
import { RECHARGED, REFUNDED } from '../support/books.ts';
import { expectChargedOnce, expectRefunded } from '../support/expectations.ts';
import { READ_BUDGET } from '../support/faults.ts';
import { World } from '../support/world.ts';

describe.each(VERSIONS)('LiteLLM %s', (version) => {
  let litellm: LaunchedServer;
  let world: World;

  beforeAll(async () => {
    litellm = await launch('litellm', { port: 0, version, 'spend-lag-ms': 0 });
    world = await World.start({ KMS_BASE_URL: litellm.ready['url'] ?? '' });
  });
  afterEach(() => world.clearFaults());
  afterAll(async () => {
    await world.close();
    await litellm.stop();
  });

  test('a team that has run out is recharged', async () => {
    const organization = await world.organization();
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  test("a raise above the cap of the team's LiteLLM organization is refunded where it is refused, and holds the organization with the reason", async () => {
    const organization = await world.organization();
    await world.kmsKnob('organizations', { organization_id: 'o1', max_budget: 20 });
    await world.editTeam(organization.teamId, { organization_id: 'o1' });
    const isCapped = version === '1.110.2';
    expect(await world.alerted(organization)).toEqual(isCapped ? REFUNDED : RECHARGED);
    await (isCapped ? expectRefunded : expectChargedOnce)(world, organization);
    const { holds } = (await world.admin.get(`/api/v1/organizations/${organization.id}`)).data;
    const detail = expect.stringContaining("exceeds organization's max_budget (20.0)");
    expect(holds).toEqual(isCapped ? [expect.objectContaining({ reason: 'raise_refused', detail })] : []);
  });

  test('its database is unavailable after the charge: nothing is refunded, and the quota is raised later', async () => {
    const organization = await world.organization();
    const { eventId, goOn } = await world.chargedButNotGranted(organization);
    await world.kmsKnob('settings', { database_down: true });
    await goOn();
    const looks = async () =>
      (await world.kmsState()).requests.filter(
        ({ path, query, status }) => path === READ_BUDGET.path && query.includes(organization.teamId) && status >= 400,
      ).length;
    await world.eventually(async () => (await looks()) >= 2, 'two looks at the team are refused');
    await world.kmsKnob('settings', { database_down: false });
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  test('an unknown team is missing', async () => {
    const organization = await world.organization();
    await world.deleteTeam(organization.teamId);
    expect(await world.alerted(organization)).toEqual({ outcome: 'team_not_found', success: false });
  });
});
