import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parseQuota, quotaMicros } from '../../../src/domain/money.ts';
import {
  addSyncCounts,
  adviceOn,
  type ClaimedOrganization,
  claimOf,
  comparedKinds,
  DRIFT_ADVICE,
  type DriftKind,
  driftOf,
  driftOfStranger,
  driftOfUnreadable,
  isBudgetEdited,
  judgeAbsence,
  leavesNoTeam,
  NOTHING_SYNCED,
  type Ours,
  type OurTeam,
  outcomeWithoutAction,
  SYNC_OUTCOMES,
  type SyncCounts,
  type Theirs,
  whyUncertain,
} from '../../../src/domain/sync.ts';

const team: OurTeam = { id: 'sales', userId: 'acme/sales', isSynced: true, isLeaving: false, keysLeaving: 0 };
const ours: Ours = {
  organizationId: 'acme',
  name: 'Acme Corporation',
  litellmTeamId: 'team-acme',
  blocked: false,
  createTeam: false,
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

test('a comparison says nothing of a budget while a write of ours is under way, and nothing of what a team has that is not there', () => {
  const absent = ['team_not_found', 'team_deleted'];
  const there = [...absent, 'block_differs', 'budget_unlimited', 'budget_duration', 'budget_limits'];
  expect(comparedKinds(ours, null)).toEqual(absent);
  expect(comparedKinds(ours, theirs)).toEqual([...there, 'budget_edited']);
  expect(comparedKinds({ budgetLeft: null }, theirs)).toEqual(there);
  expect(comparedKinds(ours, { quota: null })).toEqual(there);
});

describe('the team in LiteLLM', () => {
  const about = { subject: 'team-acme', organizationId: 'acme' };

  test('is made when it was asked for and LiteLLM has never had it, and its members with it', () => {
    expect(driftOf({ ...ours, createTeam: true, wasSeen: false }, null)).toEqual([
      { ...about, kind: 'team_missing', ours: 'Acme Corporation', theirs: null, action: 'create' },
      {
        kind: 'member_missing',
        subject: 'acme/sales',
        organizationId: 'acme',
        ours: 'acme/sales',
        theirs: 'no member',
        action: 'add_member',
      },
    ]);
  });
  test('is not made when nobody asked for it, nor are its members: a person decides', () => {
    expect(driftOf({ ...ours, wasSeen: false }, null)).toEqual([
      { ...about, kind: 'team_not_found', ours: 'Acme Corporation', theirs: null, action: null },
    ]);
  });
  test('is not made again when it was deleted there, even if it was asked for once: a person decides', () => {
    expect(found({ createTeam: true }, null)).toEqual([['team_deleted', null]]);
    expect(driftOf(ours, null)).toMatchObject([{ ...about, kind: 'team_deleted', ours: 'Acme Corporation', theirs: null, action: null }]);
  });
  test('that was deleted is made again with a figure that one command says', () => {
    const [advice] = driftOf(ours, null).map(adviceOn);
    expect(advice).toBe(
      'LiteLLM no longer has the team, and what was left of it is gone: correct litellm_team_id (bill org set acme --team <id>), or make the team again in LiteLLM: bill status --org acme says by which call, and with which max_budget',
    );
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
  test('is set by us whoever lifted it, and is no difference where both sides have it', () => {
    expect(found({ blocked: true, blockedByUs: true })).toEqual([['block_differs', 'block']]);
    expect(found({ blocked: true, blockedByUs: true }, { blocked: true })).toEqual([]);
    expect(found({ blocked: true }, { blocked: true })).toEqual([]);
  });
  test('names both states', () => {
    const about = { kind: 'block_differs', subject: 'team-acme', organizationId: 'acme' };
    expect(driftOf({ ...ours, blocked: true }, theirs)).toEqual([{ ...about, ours: 'blocked', theirs: 'not blocked', action: 'block' }]);
    expect(driftOf(ours, { ...theirs, blocked: true })).toEqual([{ ...about, ours: 'not blocked', theirs: 'blocked', action: null }]);
  });
});

describe('the budget', () => {
  test('that somebody has edited is reported and left alone', () => {
    expect(driftOf(ours, { ...theirs, quota: parseQuota('99') })).toMatchObject([
      { kind: 'budget_edited', ours: '30.50', theirs: '99.00', action: null },
    ]);
  });
  test('names both budgets, the organization and its team', () => {
    const about = { subject: 'team-acme', organizationId: 'acme', action: null };
    expect(driftOf(ours, { ...theirs, quota: parseQuota('99'), budgetDuration: '30d', hasBudgetLimits: true })).toEqual([
      { ...about, kind: 'budget_edited', ours: '30.50', theirs: '99.00' },
      { ...about, kind: 'budget_duration', ours: null, theirs: '30d' },
      { ...about, kind: 'budget_limits', ours: null, theirs: 'some' },
    ]);
    expect(driftOf(ours, { ...theirs, quota: null })).toEqual([{ ...about, kind: 'budget_unlimited', ours: '30.50', theirs: null }]);
    expect(driftOf({ ...ours, budgetLeft: null }, { ...theirs, quota: null })).toEqual([
      { ...about, kind: 'budget_unlimited', ours: null, theirs: null },
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
      mine: fc.record({
        blocked: fc.boolean(),
        createTeam: fc.boolean(),
        wasSeen: fc.boolean(),
        blockedByUs: fc.boolean(),
        budgetLeft: quotas,
      }),
      other: fc.option(fc.record({ blocked: fc.boolean(), quota: quotas, alias: fc.option(fc.string()), hasBudgetLimits: fc.boolean() })),
    });
    fc.assert(
      fc.property(sides, ({ mine, other }) => {
        const drift = driftOf({ ...ours, ...mine }, other && { ...theirs, ...other });
        for (const { kind, action } of drift) if (kind.startsWith('budget')) expect(action).toBeNull();
        expect(drift.filter(({ action }) => action === 'create')).toHaveLength(other === null && mine.createTeam && !mine.wasSeen ? 1 : 0);
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
  test('is a member for LiteLLM only if LiteLLM says so', () => {
    const { memberUserIds: _, ...silent } = theirs;
    expect(driftOf(ours, silent)).toMatchObject([{ kind: 'member_missing', theirs: 'no member' }]);
  });
  test('names what is wanted and what LiteLLM shows', () => {
    const about = { subject: 'acme/sales', organizationId: 'acme' };
    const changed = (change: Partial<OurTeam>) => driftOf({ ...ours, teams: [{ ...team, ...change }] }, theirs);
    expect(changed({ isSynced: false })).toEqual([
      { ...about, kind: 'member_missing', ours: 'acme/sales', theirs: 'a member', action: 'add_member' },
    ]);
    expect(changed({ isLeaving: true })).toEqual([
      { ...about, kind: 'member_leaving', ours: 'removed', theirs: 'a member', action: 'remove_member' },
    ]);
    expect(changed({ keysLeaving: 1 })).toEqual([
      { ...about, kind: 'keys_leaving', ours: '1 keys revoked', theirs: null, action: 'delete_keys' },
    ]);
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
    expect(driftOfStranger(stranger, null)).toEqual({
      kind: 'team_unmanaged',
      subject: 'team-x',
      organizationId: null,
      ours: null,
      theirs: 'X',
      action: null,
    });
    expect(outcomeWithoutAction('team_unmanaged')).toBe('noted');
  });
});

const kinds = Object.keys(DRIFT_ADVICE) as DriftKind[];

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
    expect(leavesNoTeam('team_not_found', 'needs_person')).toBe(true);
    expect(leavesNoTeam('team_missing', 'failed')).toBe(true);
    expect(leavesNoTeam('team_missing', 'done')).toBe(false);
    expect(leavesNoTeam('team_missing', 'planned')).toBe(false);
    for (const kind of kinds.filter((each) => !['team_deleted', 'team_not_found', 'team_missing'].includes(each)))
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

describe('a drift without an action', () => {
  test.each(kinds.filter((kind) => kind !== 'team_unmanaged'))('waits for a person when it is %s', (kind) => {
    expect(outcomeWithoutAction(kind)).toBe('needs_person');
  });
  test('is only noted when the team is no organization’s', () => {
    expect(outcomeWithoutAction('team_unmanaged')).toBe('noted');
  });
  test('names what an operator has to look at', () => {
    const names: Record<DriftKind, RegExp> = {
      team_missing: /has ever seen it.*made/,
      team_not_found: /has ever seen it.*not asked for: correct litellm_team_id, or have the team made/,
      team_deleted: /litellm_team_id/,
      name_differs: /name/,
      block_differs: /unblock it there, or set blocked/,
      member_missing: /not yet a member/,
      member_leaving: /removed/,
      keys_leaving: /keys.*revoked/,
      budget_edited: /max_budget.*edited/,
      budget_unlimited: /max_budget.*without limit/,
      budget_duration: /budget_duration/,
      budget_limits: /budget_limits/,
      team_claimed: /metadata/,
      team_unmanaged: /no organization/,
      team_unreadable: /cannot be read.*no team is made/,
    };
    for (const kind of kinds) expect([kind, DRIFT_ADVICE[kind]]).toEqual([kind, expect.stringMatching(names[kind])]);
  });
});

test('a drift ends in an outcome that the database takes', () => {
  const migration = readFileSync(new URL('../../../src/database/migrations/0007-synchronisation.ts', import.meta.url), 'utf8');
  const [, list = ''] = /outcome in \(([^)]*)\)/.exec(migration) ?? [];
  expect(list.match(/\w+/g)).toEqual([...SYNC_OUTCOMES]);
});

describe('what a run has gone through', () => {
  const count = fc.nat();
  const counts: fc.Arbitrary<SyncCounts> = fc.record({
    pages: count,
    teams: count,
    organizations: count,
    unmanaged: count,
    unreadable: count,
    failedPages: fc.array(count),
  });

  test('is nothing at first, and nothing more adds nothing', () => {
    expect(NOTHING_SYNCED).toEqual({ pages: 0, teams: 0, organizations: 0, unmanaged: 0, unreadable: 0, failedPages: [] });
    fc.assert(
      fc.property(counts, (some) => {
        expect(addSyncCounts(NOTHING_SYNCED, some)).toEqual(some);
        expect(addSyncCounts(some, NOTHING_SYNCED)).toEqual(some);
      }),
    );
  });
  test('adds up count by count, and remembers every failed page in its order', () => {
    const first = { pages: 1, teams: 20, organizations: 300, unmanaged: 4000, unreadable: 50_000, failedPages: [3, 1] };
    const second = { pages: 2, teams: 30, organizations: 400, unmanaged: 5000, unreadable: 60_000, failedPages: [2] };
    expect(addSyncCounts(first, second)).toEqual({
      pages: 3,
      teams: 50,
      organizations: 700,
      unmanaged: 9000,
      unreadable: 110_000,
      failedPages: [3, 1, 2],
    });
  });
});

test('a row of LiteLLM that cannot be read is shown with the beginning of the reason', () => {
  const reason = 'max_budget: '.padEnd(301, 'x');
  const unreadable = { kind: 'team_unreadable', subject: 'blue', ours: null, theirs: reason.slice(0, 300), action: null };
  expect(driftOfUnreadable({ teamId: 'blue', reason }, 'acme')).toEqual({ ...unreadable, organizationId: 'acme' });
  expect(driftOfUnreadable({ teamId: 'blue', reason }, null)).toEqual({ ...unreadable, organizationId: null });
});

test.each([
  [2, [], "2 of LiteLLM's teams could not be read (bill sync --wait names them as team_unreadable)"],
  [0, [3, 4], 'LiteLLM did not show page 3, 4 of its teams'],
  [
    1,
    [3],
    "1 of LiteLLM's teams could not be read (bill sync --wait names them as team_unreadable), and LiteLLM did not show page 3 of its teams",
  ],
])('where %d teams and the pages %j could not be read, that is why no team is made', (unreadable, failedPages, seen) => {
  const why = `${seen}: its team may be among them, so none is made before every team can be read`;
  expect(whyUncertain({ unreadable, failedPages })).toBe(why);
});
