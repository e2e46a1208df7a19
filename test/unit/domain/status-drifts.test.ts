/** How an organization stands whose team LiteLLM does not have as it should be: what is meant, and the call that restores it. */
import { describe, expect, test } from '@jest/globals';
import { parseQuota } from '../../../src/domain/money.ts';
import { type OrganizationFacts, standingOf } from '../../../src/domain/status.ts';
import { DRIFT_ADVICE } from '../../../src/domain/sync.ts';
import { drift, edited, FINE, inWords, litellm, minutesAgo, NOW, restored } from '../status-facts.ts';

describe('an organization', () => {
  /** A team that is gone, as it is shown. */
  const TEAM_GONE = `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.team_deleted}
→ one of:
bill org set acme --team <id>      # it is another team
${litellm('/team/new', '{"team_id":"acme-team","max_budget":9.5,"budget_duration":null}')}    # it is made again, with what was left when it was last seen: take off what was spent since
then: bill org accept-budget acme "reason"
then: bill sweep`;

  test.each<[string, Partial<OrganizationFacts>, string]>([
    [
      'a team that is blocked in LiteLLM',
      { refusals: [{ reason: 'team_blocked', since: minutesAgo(3) }] },
      `
LiteLLM differs since 11:57
the team is blocked, by its setting here or in LiteLLM, so nothing is bought for it: unblock it
→ bill org set acme --blocked off, or unblock the team in LiteLLM`,
    ],
    [
      'a team that LiteLLM does not have, as an alert has found',
      { refusals: [{ reason: 'team_not_found', since: minutesAgo(3) }] },
      `
LiteLLM differs since 11:57
LiteLLM has no such team: create it or correct litellm_team_id
→ bill sync --org acme --wait says how to make the team; or bill org set acme --team <id>`,
    ],
    [
      'a team that LiteLLM does not have, as a synchronisation has found',
      { drifts: [drift('team_not_found')] },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.team_not_found}
→ one of:
bill org set acme --team <id>      # it is another team
bill org set acme --create-team    # it is to be made, with max_budget 0`,
    ],
    [
      'a team that is gone',
      { drifts: [drift('team_deleted')], gone: { left: parseQuota('9.50'), lastBudget: parseQuota('30.50') } },
      TEAM_GONE,
    ],
    [
      'a team that is gone, as a synchronisation has found: no figure beside those of the command',
      {
        drifts: [drift('team_deleted', { reason: 'make the team again: POST /team/new {"max_budget":30.5}' })],
        gone: { left: parseQuota('9.50'), lastBudget: parseQuota('30.50') },
      },
      TEAM_GONE,
    ],
    [
      'a team that is gone with all that was written',
      { drifts: [drift('team_deleted')], gone: { left: parseQuota('30.50'), lastBudget: parseQuota('30.50') } },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.team_deleted}
→ one of:
bill org set acme --team <id>      # it is another team
${litellm('/team/new', '{"team_id":"acme-team","max_budget":30.5,"budget_duration":null}')}    # it is made again, with what was left when it was last seen: take off what was spent since
then: bill sweep`,
    ],
    [
      'a team that is gone and was never written',
      { drifts: [drift('team_deleted')], gone: { left: parseQuota('9.50'), lastBudget: null } },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.team_deleted}
→ one of:
bill org set acme --team <id>      # it is another team
${litellm('/team/new', '{"team_id":"acme-team","max_budget":9.5,"budget_duration":null}')}    # it is made again, with what was left when it was last seen: take off what was spent since
then: bill sweep`,
    ],
    [
      'a team that is gone and was not seen for days',
      { drifts: [drift('team_deleted')], gone: { left: null, lastBudget: parseQuota('30.50') } },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.team_deleted}
→ one of:
bill org set acme --team <id>      # it is another team
${litellm('/team/new', '{"team_id":"acme-team","max_budget":30.5,"budget_duration":null}')}    # it is made again, with what our last write left: take off what was spent of it since
then, where that is less: bill org accept-budget acme "reason"`,
    ],
    [
      'a team that is gone and of which nothing is known',
      { drifts: [drift('team_deleted')] },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.team_deleted}
→ one of:
bill org set acme --team <id>      # it is another team
${litellm('/team/new', '{"team_id":"acme-team","max_budget":0,"budget_duration":null}')}    # it is made again, with what was left when it was last seen: take off what was spent since
then: bill sweep`,
    ],
    [
      'a block of somebody else',
      { drifts: [drift('block_differs', { theirs: 'blocked' })] },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.block_differs}
→ one of:
bill org set acme --blocked on    # it was meant
${litellm('/team/update', '{"team_id":"acme-team","blocked":false}')}    # it was not meant
then: bill sync --org acme --wait`,
    ],
    [
      'a block that is missing',
      { drifts: [drift('block_differs', { theirs: 'not blocked' })] },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.block_differs}
→ bill sync --org acme --wait`,
    ],
    [
      'a budget that somebody has edited',
      { drifts: [edited] },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.budget_edited} (31.00, where 30.50 is expected)
→ one of:
bill org accept-budget acme "reason"    # it was meant
${restored}    # it was not meant
then: bill sync --org acme --wait`,
    ],
    [
      'no budget',
      { drifts: [drift('budget_unlimited', { ours: '30.50' })] },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.budget_unlimited}
→ ${restored}
then: bill sync --org acme --wait`,
    ],
    [
      'no budget, where none was ever known',
      { drifts: [drift('budget_unlimited')] },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.budget_unlimited}
→ ${litellm('/team/update', '{"team_id":"acme-team","max_budget":"<dollars>"}')}
then: bill sync --org acme --wait`,
    ],
    [
      'a budget_duration',
      { drifts: [drift('budget_duration')] },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.budget_duration}
→ remove budget_duration of team acme-team in LiteLLM, then: bill sync --org acme --wait`,
    ],
    [
      'budget_limits',
      { drifts: [drift('budget_limits')] },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.budget_limits}
→ remove budget_limits of team acme-team in LiteLLM, then: bill sync --org acme --wait`,
    ],
    [
      'a team that names it and is not its own',
      { drifts: [drift('team_claimed')] },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.team_claimed}
→ take c_organization_id out of the metadata of team acme-team in LiteLLM, or bill org set acme --team acme-team; then bill sync`,
    ],
    [
      'a difference whose settling has failed',
      { drifts: [drift('name_differs', { reason: 'LiteLLM answered 500', hasFailed: true })] },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.name_differs}, which has failed: LiteLLM answered 500
→ bill sync --org acme --wait tries it again, and says what it meets`,
    ],
    [
      'a difference with advice of its own',
      { drifts: [drift('team_not_found', { reason: 'it has acme-prod: correct it' })] },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: it has acme-prod: correct it
→ one of:
bill org set acme --team <id>      # it is another team
bill org set acme --create-team    # it is to be made, with max_budget 0`,
    ],
  ])('with %s says so, and what happens next', (_what, facts, told) => {
    expect(`\n${inWords(standingOf({ ...FINE, ...facts }, NOW))}`).toBe(told);
  });
});
