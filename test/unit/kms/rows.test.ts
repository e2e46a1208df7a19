import { describe, expect, test } from '@jest/globals';
import { readRows, teamInfo, teamInfoWithMembers, teamRow } from '../../../src/kms/rows.ts';

/** What every LiteLLM shows of a team that nothing was set for. */
const ROW = {
  team_id: 't1',
  team_alias: null,
  max_budget: 10,
  spend: 0.5,
  soft_budget: null,
  budget_duration: null,
  budget_limits: null,
  blocked: false,
  metadata: {},
};

type Field = keyof typeof ROW;

function without(...fields: Field[]) {
  return Object.fromEntries(Object.entries(ROW).filter(([name]) => !fields.includes(name as Field)));
}

/** What a decision about money rests on, in every LiteLLM. */
const NEEDED: Field[] = ['max_budget', 'spend', 'budget_duration', 'blocked'];

describe('a team', () => {
  test('is read with its budget in micro-dollars', () => {
    expect(teamRow.parse({ ...ROW, a_later_field: {} })).toMatchObject({ teamId: 't1', quota: 10_000_000, spend: 500_000, blocked: false });
  });

  test.each(NEEDED)('without %s is unreadable: what is left out is neither null nor zero', (field) => {
    const read = teamRow.safeParse(without(field));
    expect(read.success).toBe(false);
    expect(read.error?.issues.map(({ path }) => path)).toEqual([[field]]);
    expect(teamInfo.safeParse({ team_info: without(field) }).success).toBe(false);
    expect(teamInfoWithMembers.safeParse({ team_info: without(field), team_memberships: [] }).success).toBe(false);
  });

  test.each([
    ['max_budget', '10.0'],
    ['max_budget', true],
    ['max_budget', {}],
    ['spend', null],
    ['spend', '0.5'],
    ['spend', 1e12],
    ['blocked', null],
    ['blocked', 'false'],
    ['budget_duration', 30],
  ])('whose %s is %j is unreadable', (field, value) => {
    expect(teamRow.safeParse({ ...ROW, [field]: value }).success).toBe(false);
  });

  test('whose budget is null is unlimited', () => {
    expect(teamRow.parse({ ...ROW, max_budget: null })).toMatchObject({ quota: null });
  });

  test('of a LiteLLM that has neither soft budgets nor budget windows of teams has none', () => {
    expect(teamRow.parse(without('soft_budget', 'budget_limits'))).toMatchObject({ softBudget: null, hasBudgetLimits: false });
  });

  test('may have no alias and no metadata: neither decides about money', () => {
    expect(teamRow.parse(without('team_alias', 'metadata'))).toMatchObject({ alias: null, metadata: {} });
  });
});

describe('the answer about one team', () => {
  test('is read whatever its lists hold', () => {
    expect(teamInfo.parse({ team_info: ROW, keys: 7, team_memberships: [{}] })).toMatchObject({ teamId: 't1' });
  });

  test("has its members' limits; one without a table, or without a limit in it, has none", () => {
    const team_memberships = [
      { user_id: 'u1', litellm_budget_table: { max_budget: 2 } },
      { user_id: 'u2', litellm_budget_table: { max_budget: null } },
      { user_id: 'u3', litellm_budget_table: null },
      { user_id: 'u4' },
    ];
    expect(teamInfoWithMembers.parse({ team_info: ROW, team_memberships }).memberships).toEqual([
      { userId: 'u1', maxBudgetInTeam: 2_000_000 },
      { userId: 'u2', maxBudgetInTeam: null },
      { userId: 'u3', maxBudgetInTeam: null },
      { userId: 'u4', maxBudgetInTeam: null },
    ]);
  });
});

test('of a list only the rows that cannot be read are kept apart, each with its id and the field', () => {
  const { rows, unreadable } = readRows(teamRow, [ROW, { ...without('spend'), team_id: 't2' }, { ...ROW, team_id: 't3' }], 'team_id');
  expect(rows.map(({ teamId }) => teamId)).toEqual(['t1', 't3']);
  expect(unreadable).toEqual([{ id: 't2', reason: expect.stringMatching(/expected number, received undefined\n.*spend/) }]);
});
