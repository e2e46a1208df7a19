import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parseQuota, quotaMicros } from '../../../src/domain/money.ts';
import {
  type ClaimedOrganization,
  claimOf,
  DRIFT_ADVICE,
  type DriftKind,
  driftOf,
  driftOfStranger,
  isBudgetEdited,
  judgeAbsence,
  leavesNoTeam,
  type Ours,
  type OurTeam,
  outcomeWithoutAction,
  SYNC_OUTCOMES,
  type Theirs,
} from '../../../src/domain/sync.ts';

const team: OurTeam = { id: 'sales', userId: 'acme/sales', isSynced: true, isLeaving: false, keysLeaving: 0 };
const ours: Ours = {
  organizationId: 'acme',
  name: 'Acme Corporation',
  litellmTeamId: 'team-acme',
  blocked: false,
  wasSeen: true,
  blockedByUs: false,
  budgetLeft: parseQuota('30.5'),
  teams: [team],
};
const theirs: Theirs = {
  alias: 'Acme Corporation',
  blocked: false,
  quota: parseQuota('30.5'),
  spend: parseQuota('10'),
  softBudget: null,
  budgetDuration: null,
  hasBudgetLimits: false,
  memberUserIds: ['default_user_id', 'acme/sales'],
};

/** The kinds of drift with what is done about each. */
function found(mine: Partial<Ours>, other: Partial<Theirs> | null = {}): [string, string | null][] {
  return driftOf({ ...ours, ...mine }, other && { ...theirs, ...other }).map(({ kind, action }) => [kind, action]);
}

test('nothing is found where both sides agree, whatever was spent and whoever else is a member', () => {
  expect(found({}, { spend: parseQuota('29'), softBudget: parseQuota('1') })).toEqual([]);
});

describe('the team in LiteLLM', () => {
  test('is made when LiteLLM has never had it, and its members with it', () => {
    expect(found({ wasSeen: false }, null)).toEqual([
      ['team_missing', 'create'],
      ['member_missing', 'add_member'],
    ]);
  });
  test('is not made again when it was deleted there: a person decides', () => {
    expect(found({}, null)).toEqual([['team_deleted', null]]);
  });
  test('gets our name', () => {
    expect(driftOf(ours, { ...theirs, alias: null })).toEqual([
      { kind: 'name_differs', subject: 'team-acme', organizationId: 'acme', ours: 'Acme Corporation', theirs: null, action: 'rename' },
    ]);
  });
});

describe('the block', () => {
  test('is ours to set, and ours to lift when it is ours', () => {
    expect(found({ blocked: true })).toEqual([['block_differs', 'block']]);
    expect(found({ blockedByUs: true }, { blocked: true })).toEqual([['block_differs', 'unblock']]);
  });
  test('of somebody else stays', () => {
    expect(found({}, { blocked: true })).toEqual([['block_differs', null]]);
  });
});

describe('the budget', () => {
  test('that somebody has edited is reported and left alone', () => {
    expect(driftOf(ours, { ...theirs, quota: parseQuota('99') })).toMatchObject([
      { kind: 'budget_edited', ours: '30.50', theirs: '99.00', action: null },
    ]);
  });
  test('is not compared before our first write, nor while one is under way', () => {
    expect(found({ budgetLeft: null }, { quota: parseQuota('99') })).toEqual([]);
  });
  test('that cannot be recharged is reported', () => {
    expect(found({}, { quota: null })).toEqual([['budget_unlimited', null]]);
    expect(found({}, { budgetDuration: '30d', hasBudgetLimits: true })).toEqual([
      ['budget_duration', null],
      ['budget_limits', null],
    ]);
  });
  test('is never written, whatever differs', () => {
    const quotas = fc.option(fc.integer({ min: 0, max: 1_000_000_000 }).map(quotaMicros));
    const sides = fc.record({
      mine: fc.record({ blocked: fc.boolean(), wasSeen: fc.boolean(), blockedByUs: fc.boolean(), budgetLeft: quotas }),
      other: fc.option(fc.record({ blocked: fc.boolean(), quota: quotas, alias: fc.option(fc.string()), hasBudgetLimits: fc.boolean() })),
    });
    fc.assert(
      fc.property(sides, ({ mine, other }) => {
        const drift = driftOf({ ...ours, ...mine }, other && { ...theirs, ...other });
        for (const { kind, action } of drift) if (kind.startsWith('budget')) expect(action).toBeNull();
        expect(drift.filter(({ action }) => action === 'create')).toHaveLength(other === null && !mine.wasSeen ? 1 : 0);
        const keys = drift.map(({ kind, subject }) => `${kind} ${subject}`);
        expect(new Set(keys).size).toBe(keys.length);
      }),
    );
  });
});

describe('a team of the organization', () => {
  test('is added when LiteLLM does not show it as a member, or was not brought to what is wanted', () => {
    expect(found({}, { memberUserIds: [] })).toEqual([['member_missing', 'add_member']]);
    expect(found({ teams: [{ ...team, isSynced: false }] })).toEqual([['member_missing', 'add_member']]);
  });
  test('is removed only when it was asked to be, whether LiteLLM still shows it or not', () => {
    expect(found({ teams: [] })).toEqual([]);
    expect(found({ teams: [{ ...team, isLeaving: true, keysLeaving: 2 }] })).toEqual([['member_leaving', 'remove_member']]);
    expect(found({ teams: [{ ...team, isLeaving: true }] }, { memberUserIds: [] })).toEqual([['member_leaving', 'remove_member']]);
  });
  test('loses the keys that were revoked', () => {
    expect(driftOf({ ...ours, teams: [{ ...team, keysLeaving: 2 }] }, theirs)).toMatchObject([
      { kind: 'keys_leaving', subject: 'acme/sales', ours: '2 keys revoked', action: 'delete_keys' },
    ]);
  });
});

describe('a team that no organization has', () => {
  const stranger = { teamId: 'team-x', alias: 'X', metadata: {} };
  const claimed: ClaimedOrganization = { organizationId: 'acme', litellmTeamId: 'team-acme', ownTeam: 'absent' };
  test('names one in its metadata, or none', () => {
    expect(claimOf({ metadata: { c_organization_id: 'acme' } })).toBe('acme');
    for (const claim of [undefined, null, '', 7, {}]) expect(claimOf({ metadata: { c_organization_id: claim } })).toBeNull();
  });
  test('is adopted by the organization that it names when that one has no team', () => {
    expect(driftOfStranger(stranger, claimed)).toEqual({
      kind: 'team_claimed',
      subject: 'team-x',
      organizationId: 'acme',
      ours: 'team-acme',
      theirs: 'X',
      action: 'adopt',
    });
  });
  test('is left to a person when the organization that it names has its own', () => {
    expect(driftOfStranger(stranger, { ...claimed, ownTeam: 'found' })).toMatchObject({ kind: 'team_claimed', action: null });
    expect(outcomeWithoutAction('team_claimed')).toBe('needs_person');
  });
  test('may yet be adopted while nobody knows whether that one has its own', () => {
    expect(driftOfStranger(stranger, { ...claimed, ownTeam: 'unknown' })).toMatchObject({ kind: 'team_claimed', action: 'adopt' });
  });
  test('is listed otherwise, and nobody has to act', () => {
    expect(driftOfStranger(stranger, null)).toMatchObject({ kind: 'team_unmanaged', organizationId: null, action: null });
    expect(outcomeWithoutAction('team_unmanaged')).toBe('noted');
  });
});

describe('an organization without a team in LiteLLM', () => {
  const never = { wasSeen: false, isClaimed: false, isEveryTeamRead: true };
  test('gets one when LiteLLM has never had it', () => {
    expect(judgeAbsence(never)).toBe('never_made');
  });
  test('does not get another one when LiteLLM has had it', () => {
    expect(judgeAbsence({ ...never, wasSeen: true })).toBe('deleted');
  });
  test('gets none while another team names it, or may do so unread', () => {
    expect(judgeAbsence({ ...never, isClaimed: true })).toBe('claimed');
    expect(judgeAbsence({ ...never, isEveryTeamRead: false })).toBe('uncertain');
  });
  test('gets one only when nothing speaks against it', () => {
    const facts = fc.record({ wasSeen: fc.boolean(), isClaimed: fc.boolean(), isEveryTeamRead: fc.boolean() });
    fc.assert(
      fc.property(facts, (absence) => {
        const isMade = !absence.wasSeen && !absence.isClaimed && absence.isEveryTeamRead;
        expect(judgeAbsence(absence) === 'never_made').toBe(isMade);
      }),
    );
  });
  test('has nothing else to settle when its team was deleted or cannot be made', () => {
    expect(leavesNoTeam('team_deleted', 'needs_person')).toBe(true);
    expect(leavesNoTeam('team_missing', 'failed')).toBe(true);
    expect(leavesNoTeam('team_missing', 'done')).toBe(false);
    expect(leavesNoTeam('team_missing', 'planned')).toBe(false);
    const kinds = Object.keys(DRIFT_ADVICE) as DriftKind[];
    for (const kind of kinds.filter((each) => each !== 'team_deleted' && each !== 'team_missing'))
      for (const outcome of SYNC_OUTCOMES) expect(leavesNoTeam(kind, outcome)).toBe(false);
  });
});

describe('a second look at a budget', () => {
  const left = parseQuota('30.5');
  test('shows an edit when what we left has not changed meanwhile', () => {
    expect(isBudgetEdited({ leftBefore: left, shown: parseQuota('99'), leftAfter: left })).toBe(true);
    expect(isBudgetEdited({ leftBefore: left, shown: null, leftAfter: left })).toBe(true);
    expect(isBudgetEdited({ leftBefore: left, shown: undefined, leftAfter: left })).toBe(true);
  });
  test('shows no edit where a recharge has come between, or is under way', () => {
    expect(isBudgetEdited({ leftBefore: left, shown: parseQuota('99'), leftAfter: parseQuota('99') })).toBe(false);
    expect(isBudgetEdited({ leftBefore: left, shown: parseQuota('99'), leftAfter: undefined })).toBe(false);
    expect(isBudgetEdited({ leftBefore: undefined, shown: parseQuota('99'), leftAfter: undefined })).toBe(false);
  });
  test('never calls our own budget an edit', () => {
    const budgets = fc.option(fc.integer({ min: 0, max: 3 }).map(quotaMicros), { nil: undefined });
    fc.assert(
      fc.property(budgets, budgets, (shown, leftAfter) => {
        expect(isBudgetEdited({ leftBefore: shown, shown, leftAfter })).toBe(false);
      }),
    );
  });
});
