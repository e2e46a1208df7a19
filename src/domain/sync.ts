/**
 * Where LiteLLM differs from what is wanted here, and what is done about it. Pure: both sides come in, drift goes out.
 *
 * What is ours goes to LiteLLM: that the team is there, its name, its block, its members. What is LiteLLM's is only looked at:
 * a budget is never written here but the nothing that a new team starts with, so no recharge under way is ever undone.
 */
import { formatQuota, type QuotaMicros } from './money.ts';
import type { LiveBudget } from './policy.ts';

/** Every kind of drift, and what a person should do where the service does nothing. */
export const DRIFT_ADVICE = {
  team_missing: 'LiteLLM has never had the team: it is made, with nothing to spend',
  team_deleted: 'LiteLLM had the team and has it no more: correct litellm_team_id, or make the team in LiteLLM',
  name_differs: 'the name is wanted as it is here',
  block_differs: 'the team was blocked in LiteLLM by somebody else: unblock it there, or set blocked here',
  member_missing: "a team of the organization's is not yet a member there",
  member_leaving: 'a team was asked to be removed, and LiteLLM still has it',
  keys_leaving: 'keys were asked to be revoked, or never issued, and LiteLLM may still have them',
  budget_edited: 'max_budget is not what the last recharge or reversal left: somebody has edited it, and it stays as it is',
  budget_unlimited: 'the team has no max_budget in LiteLLM, so it can spend without limit: set one',
  budget_duration: 'the team has a budget_duration in LiteLLM, which gives spent quota back for free: remove it',
  budget_limits: 'the team has budget_limits in LiteLLM, which refuse whatever max_budget says: remove them',
  team_claimed: 'a team in LiteLLM names an organization in its metadata that has a team already: correct one of the two',
  team_unmanaged: 'no organization has this team: nothing is done about it',
} as const;
export type DriftKind = keyof typeof DRIFT_ADVICE;

export type DriftAction = 'create' | 'rename' | 'block' | 'unblock' | 'add_member' | 'remove_member' | 'delete_keys' | 'adopt';

export type Drift = {
  kind: DriftKind;
  /** What differs: a team in LiteLLM, or a team of an organization as `organization/team`. */
  subject: string;
  organizationId: string | null;
  ours: string | null;
  theirs: string | null;
  /** null: nothing, it is a person's. */
  action: DriftAction | null;
};

/** `planned`: a dry run would do it. `noted`: there is nothing to do. */
export const SYNC_OUTCOMES = ['planned', 'done', 'failed', 'needs_person', 'noted'] as const;
export type SyncOutcome = (typeof SYNC_OUTCOMES)[number];

export type OurTeam = {
  id: string;
  userId: string;
  /** LiteLLM was brought to what is wanted of it. */
  isSynced: boolean;
  isLeaving: boolean;
  /** Keys that LiteLLM may still have and should not. */
  keysLeaving: number;
};

export type Ours = {
  organizationId: string;
  name: string;
  litellmTeamId: string;
  blocked: boolean;
  /** LiteLLM was seen to have the team before. */
  wasSeen: boolean;
  /** The block that LiteLLM shows is one that we have put there. */
  blockedByUs: boolean;
  /** What our last write left as the budget; null when there was none, or one is under way. */
  budgetLeft: QuotaMicros | null;
  teams: readonly OurTeam[];
};

export type Theirs = LiveBudget & { alias: string | null; blocked: boolean; memberUserIds?: readonly string[] };

/** @param theirs null: LiteLLM has no such team. */
export function driftOf(ours: Ours, theirs: Theirs | null): Drift[] {
  const about = { subject: ours.litellmTeamId, organizationId: ours.organizationId };
  if (theirs === null) {
    const gone = { ...about, ours: ours.name, theirs: null };
    if (ours.wasSeen) return [{ ...gone, kind: 'team_deleted', action: null }];
    return [{ ...gone, kind: 'team_missing', action: 'create' }, ...driftOfMembers(ours, null)];
  }
  const drift: Drift[] = [];
  if (theirs.alias !== ours.name) drift.push({ ...about, kind: 'name_differs', ours: ours.name, theirs: theirs.alias, action: 'rename' });
  if (theirs.blocked !== ours.blocked) {
    const states = { ours: blockState(ours.blocked), theirs: blockState(theirs.blocked) };
    // Whoever else has blocked it had a reason that we do not know.
    const action = ours.blocked ? 'block' : ours.blockedByUs ? 'unblock' : null;
    drift.push({ ...about, kind: 'block_differs', ...states, action });
  }
  return [...drift, ...driftOfBudget(ours, theirs).map((item) => ({ ...about, ...item })), ...driftOfMembers(ours, theirs)];
}

function driftOfBudget(
  { budgetLeft }: Ours,
  { quota, budgetDuration, hasBudgetLimits }: Theirs,
): Omit<Drift, 'subject' | 'organizationId'>[] {
  const ours = budgetLeft === null ? null : formatQuota(budgetLeft);
  return [
    ...(quota === null ? [{ kind: 'budget_unlimited' as const, ours, theirs: null, action: null }] : []),
    ...(quota !== null && budgetLeft !== null && quota !== budgetLeft
      ? [{ kind: 'budget_edited' as const, ours, theirs: formatQuota(quota), action: null }]
      : []),
    ...(budgetDuration === null ? [] : [{ kind: 'budget_duration' as const, ours: null, theirs: budgetDuration, action: null }]),
    ...(hasBudgetLimits ? [{ kind: 'budget_limits' as const, ours: null, theirs: 'some', action: null }] : []),
  ];
}

function driftOfMembers({ organizationId, teams }: Ours, theirs: Theirs | null): Drift[] {
  return teams.flatMap(({ id, userId, isSynced, isLeaving, keysLeaving }): Drift[] => {
    const isMember = theirs?.memberUserIds?.includes(userId) ?? false;
    const about = { subject: `${organizationId}/${id}`, organizationId, theirs: isMember ? 'a member' : 'no member' };
    if (isLeaving) return [{ ...about, kind: 'member_leaving', ours: 'removed', action: 'remove_member' }];
    return [
      ...(isSynced && isMember ? [] : [{ ...about, kind: 'member_missing' as const, ours: userId, action: 'add_member' as const }]),
      ...(keysLeaving > 0
        ? [{ ...about, kind: 'keys_leaving' as const, ours: `${keysLeaving} keys revoked`, theirs: null, action: 'delete_keys' as const }]
        : []),
    ];
  });
}

/** A team in LiteLLM that no organization of ours has. */
export type Stranger = { teamId: string; alias: string | null; metadata: Record<string, unknown> };

/** The organization that a team says in its metadata to be of; null when it says nothing of the kind. */
export function claimOf({ metadata }: Pick<Stranger, 'metadata'>): string | null {
  const claim = metadata['c_organization_id'];
  return typeof claim === 'string' && claim !== '' ? claim : null;
}

/** @param claimed the organization that it claims to be of, if there is one; `hasTeam`: LiteLLM has that one's own team. */
export function driftOfStranger(
  { teamId, alias }: Stranger,
  claimed: { organizationId: string; litellmTeamId: string; hasTeam: boolean } | null,
): Drift {
  if (claimed === null) return { kind: 'team_unmanaged', subject: teamId, organizationId: null, ours: null, theirs: alias, action: null };
  return {
    kind: 'team_claimed',
    subject: teamId,
    organizationId: claimed.organizationId,
    ours: claimed.litellmTeamId,
    theirs: alias,
    action: claimed.hasTeam ? null : 'adopt',
  };
}

/** How a drift that nobody acts on is to be read. */
export function outcomeWithoutAction(kind: DriftKind): Extract<SyncOutcome, 'needs_person' | 'noted'> {
  return kind === 'team_unmanaged' ? 'noted' : 'needs_person';
}

function blockState(blocked: boolean): string {
  return blocked ? 'blocked' : 'not blocked';
}

/** What a run has gone through so far. */
export type SyncCounts = {
  pages: number;
  teams: number;
  organizations: number;
  unmanaged: number;
  /** Teams that could not be read, or made no sense. */
  unreadable: number;
  failedPages: number[];
};

export const NOTHING_SYNCED: SyncCounts = { pages: 0, teams: 0, organizations: 0, unmanaged: 0, unreadable: 0, failedPages: [] };

export function addSyncCounts(a: SyncCounts, b: SyncCounts): SyncCounts {
  return {
    pages: a.pages + b.pages,
    teams: a.teams + b.teams,
    organizations: a.organizations + b.organizations,
    unmanaged: a.unmanaged + b.unmanaged,
    unreadable: a.unreadable + b.unreadable,
    failedPages: [...a.failedPages, ...b.failedPages],
  };
}
