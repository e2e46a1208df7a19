import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parseQuota, quotaMicros } from '../../../src/domain/money.ts';
import { claimOf, driftOf, driftOfStranger, type Ours, type OurTeam, type Theirs } from '../../../src/domain/sync.ts';

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
  test('that somebody has edited is told and left alone', () => {
    expect(driftOf(ours, { ...theirs, quota: parseQuota('99') })).toMatchObject([
      { kind: 'budget_edited', ours: '30.50', theirs: '99.00', action: null },
    ]);
  });
  test('is nobody’s business before our first write, and while one is under way', () => {
    expect(found({ budgetLeft: null }, { quota: parseQuota('99') })).toEqual([]);
  });
  test('that cannot be recharged is told', () => {
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

describe('a team that is no organization’s', () => {
  const stranger = { teamId: 'team-x', alias: 'X', metadata: {} };
  test('claims to be one’s in its metadata, or nothing', () => {
    expect(claimOf({ metadata: { c_organization_id: 'acme' } })).toBe('acme');
    for (const claim of [undefined, null, '', 7, {}]) expect(claimOf({ metadata: { c_organization_id: claim } })).toBeNull();
  });
  test('is adopted by the organization that it names, unless that one has its team', () => {
    const claimed = { organizationId: 'acme', litellmTeamId: 'team-acme', hasTeam: false };
    expect(driftOfStranger(stranger, claimed)).toMatchObject({ kind: 'team_claimed', subject: 'team-x', action: 'adopt' });
    expect(driftOfStranger(stranger, { ...claimed, hasTeam: true })).toMatchObject({ kind: 'team_claimed', action: null });
  });
  test('is listed otherwise', () => {
    expect(driftOfStranger(stranger, null)).toMatchObject({ kind: 'team_unmanaged', organizationId: null, action: null });
  });
});
