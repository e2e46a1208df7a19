/**
 * Where LiteLLM differs from what is wanted here, and what is done about it. Pure: both sides come in, drift
 * goes out.
 *
 * What is ours is written to LiteLLM: that the team exists, its name, its block, its members. What is
 * LiteLLM's is only read. No budget is written but the 0 that a new team starts with, so no recharge under
 * way is ever undone.
 */
import { formatQuota, formatQuotaOrNull, type QuotaMicros } from './money.ts';
import type { LiveBudget } from './policy.ts';

/** Every kind of drift, and what a person should do where the service does nothing; see `adviceOn`. */
export const DRIFT_ADVICE = {
  team_missing:
    'LiteLLM does not have the team, no sweep or synchronisation has ever seen it, and it was asked for: it is made, with max_budget 0',
  team_not_found:
    'LiteLLM does not have the team, no sweep or synchronisation has ever seen it, and it was not asked for: correct litellm_team_id, or have the team made (create_team)',
  team_deleted: 'LiteLLM no longer has the team: correct litellm_team_id, or make the team again in LiteLLM',
  name_differs: 'the team in LiteLLM gets the name that it has here',
  block_differs: 'the team was blocked in LiteLLM by somebody else: unblock it there, or set blocked here',
  member_missing: 'a team of the organization is not yet a member in LiteLLM',
  member_leaving: 'a team of the organization is to be removed, and LiteLLM may still have it',
  keys_leaving: 'keys are revoked, or were never issued, and LiteLLM may still have them',
  budget_edited:
    'max_budget is not what the last recharge or reversal left: somebody has edited it, and it stays as it is; a lower one holds the organization before it is charged again',
  budget_unlimited: 'the team has no max_budget in LiteLLM, so it can spend without limit: set one',
  budget_duration: 'the team has a budget_duration in LiteLLM, which gives spent quota back for free: remove it',
  budget_limits: 'the team has budget_limits in LiteLLM, which refuse whatever max_budget says: remove them',
  team_claimed: 'a team in LiteLLM names an organization in its metadata that has a team already: correct one of the two',
  team_unmanaged: 'no organization has this team: nothing is done about it',
  team_unreadable:
    'the row of the team in LiteLLM cannot be read, so it is not compared, its balance is not watched, and no team is made for any organization, because it may be theirs: mend or delete the row in LiteLLM',
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
  /** null: nothing is done; a person has to act, or there is nothing to do. */
  action: DriftAction | null;
  /** What a person should do, where that takes more than DRIFT_ADVICE knows. */
  advice?: string;
};

export function adviceOn({ kind, advice }: Pick<Drift, 'kind' | 'advice'>): string {
  return advice ?? DRIFT_ADVICE[kind];
}

/** Where a run of the synchronisation stands. */
export const SYNC_STATUSES = ['running', 'succeeded', 'failed'] as const;
export type SyncStatus = (typeof SYNC_STATUSES)[number];

/** `planned`: a dry run would do it. `noted`: there is nothing to do. */
export const SYNC_OUTCOMES = ['planned', 'done', 'failed', 'needs_person', 'noted'] as const;
export type SyncOutcome = (typeof SYNC_OUTCOMES)[number];

export type OurTeam = {
  id: string;
  userId: string;
  /** LiteLLM has it as it is wanted. */
  isSynced: boolean;
  isLeaving: boolean;
  /** How many keys LiteLLM may still have and should not. */
  keysLeaving: number;
};

export type Ours = {
  organizationId: string;
  name: string;
  litellmTeamId: string;
  blocked: boolean;
  /** LiteLLM is to get the team when it has never had it. */
  createTeam: boolean;
  /** LiteLLM has shown the team before. */
  wasSeen: boolean;
  /** We have set the block that LiteLLM shows. */
  blockedByUs: boolean;
  /**
   * The budget that our last write left, or the lower one that a person has accepted since; null when there was no write,
   * or one is under way.
   */
  budgetLeft: QuotaMicros | null;
  teams: readonly OurTeam[];
};

export type Theirs = LiveBudget & { alias: string | null; blocked: boolean; memberUserIds?: readonly string[] };

/** @param theirs null: LiteLLM has no such team. */
export function driftOf(ours: Ours, theirs: Theirs | null): Drift[] {
  const about = { subject: ours.litellmTeamId, organizationId: ours.organizationId };
  if (theirs === null) {
    const gone = { ...about, ours: ours.name, theirs: null };
    if (ours.wasSeen) return [{ ...gone, kind: 'team_deleted', action: null, advice: adviceOnDeleted(ours.organizationId) }];
    if (!ours.createTeam) return [{ ...gone, kind: 'team_not_found', action: null }];
    return [{ ...gone, kind: 'team_missing', action: 'create' }, ...driftOfMembers(ours, null)];
  }
  const drift: Drift[] = [];
  if (theirs.alias !== ours.name) drift.push({ ...about, kind: 'name_differs', ours: ours.name, theirs: theirs.alias, action: 'rename' });
  if (theirs.blocked !== ours.blocked) {
    const states = { ours: blockState(ours.blocked), theirs: blockState(theirs.blocked) };
    drift.push({ ...about, kind: 'block_differs', ...states, action: actionOnBlock(ours) });
  }
  return [...drift, ...driftOfBudget(ours, theirs).map((item) => ({ ...about, ...item })), ...driftOfMembers(ours, theirs)];
}

/** A team that LiteLLM had and no longer has. How it is made again is said in one place alone, with the figure that is right by then. */
export function adviceOnDeleted(organizationId: string): string {
  return `LiteLLM no longer has the team, and what was left of it is gone: correct litellm_team_id (bill org set ${organizationId} --team <id>), or make the team again in LiteLLM: ${howToMakeAgain(organizationId)}`;
}

export function howToMakeAgain(organizationId: string): string {
  return `bill status --org ${organizationId} says by which call, and with which max_budget`;
}

/**
 * The kinds of which a comparison says whether they stand. It says nothing of a budget while a write of ours is under
 * way, and nothing of what a team has while there is none.
 */
export function comparedKinds({ budgetLeft }: Pick<Ours, 'budgetLeft'>, theirs: Pick<Theirs, 'quota'> | null): DriftKind[] {
  const ofTeam: DriftKind[] = ['team_not_found', 'team_deleted'];
  if (theirs === null) return ofTeam;
  const ofFigure: DriftKind[] = budgetLeft === null || theirs.quota === null ? [] : ['budget_edited'];
  return [...ofTeam, 'block_differs', 'budget_unlimited', 'budget_duration', 'budget_limits', ...ofFigure];
}

function actionOnBlock({ blocked, blockedByUs }: Ours): DriftAction | null {
  if (blocked) return 'block';
  // Whoever else has blocked it had a reason that we do not know.
  return blockedByUs ? 'unblock' : null;
}

function driftOfBudget(
  { budgetLeft }: Ours,
  { quota, budgetDuration, hasBudgetLimits }: Theirs,
): Omit<Drift, 'subject' | 'organizationId'>[] {
  const ours = formatQuotaOrNull(budgetLeft);
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

/** The organization that a team names in its metadata; null when it names none. */
export function claimOf({ metadata }: Pick<Stranger, 'metadata'>): string | null {
  const claim = metadata['c_organization_id'];
  return typeof claim === 'string' && claim !== '' ? claim : null;
}

/**
 * The organization that a stranger names, and whether LiteLLM has that one's own team; `unknown`: it could
 * not be looked up.
 */
export type ClaimedOrganization = { organizationId: string; litellmTeamId: string; ownTeam: 'found' | 'absent' | 'unknown' };

/**
 * What a stranger's claim means. An organization without a team of its own adopts the stranger. While that is
 * unknown the claim stands, so that no other team is made for the organization.
 *
 * @param claimed null when the stranger names no organization of ours.
 */
export function driftOfStranger({ teamId, alias }: Stranger, claimed: ClaimedOrganization | null): Drift {
  if (claimed === null) return { kind: 'team_unmanaged', subject: teamId, organizationId: null, ours: null, theirs: alias, action: null };
  return {
    kind: 'team_claimed',
    subject: teamId,
    organizationId: claimed.organizationId,
    ours: claimed.litellmTeamId,
    theirs: alias,
    action: claimed.ownTeam === 'found' ? null : 'adopt',
  };
}

/** A row of LiteLLM's that cannot be read. */
export type UnreadableTeam = { teamId: string; reason: string };

/** The whole of it stands in the log. */
const MAX_REASON_LENGTH = 300;

/** @param organizationId whose team it is by its id; null: it may be anybody's. */
export function driftOfUnreadable({ teamId, reason }: UnreadableTeam, organizationId: string | null): Drift {
  const theirs = reason.slice(0, MAX_REASON_LENGTH);
  return { kind: 'team_unreadable', subject: teamId, organizationId, ours: null, theirs, action: null };
}

/** Why no team is made in a run that could not read all of LiteLLM's. */
export function whyUncertain({ unreadable, failedPages }: Pick<SyncCounts, 'unreadable' | 'failedPages'>): string {
  const unread = [
    unreadable > 0 && `${unreadable} of LiteLLM's teams could not be read (bill sync --wait names them as team_unreadable)`,
    failedPages.length > 0 && `LiteLLM did not show page ${failedPages.join(', ')} of its teams`,
  ];
  return `${unread.filter(Boolean).join(', and ')}: its team may be among them, so none is made before every team can be read`;
}

/** How a drift without an action ends. */
export function outcomeWithoutAction(kind: DriftKind): Extract<SyncOutcome, 'needs_person' | 'noted'> {
  return kind === 'team_unmanaged' ? 'noted' : 'needs_person';
}

/** Whether LiteLLM has no team after this, so that nothing further can be done about it. */
export function leavesNoTeam(kind: DriftKind, outcome: SyncOutcome): boolean {
  return kind === 'team_deleted' || kind === 'team_not_found' || (kind === 'team_missing' && outcome === 'failed');
}

/** `isClaimed`: another team names the organization and may yet be adopted. */
export type AbsenceFacts = { wasSeen: boolean; isClaimed: boolean; isEveryTeamRead: boolean };
/**
 * Why LiteLLM has no team of an organization's id. `uncertain`: its team may be among those that could not be
 * read.
 */
export type Absence = 'deleted' | 'claimed' | 'uncertain' | 'never_made';

/**
 * Judges why LiteLLM does not have a team by its id. A team is made only when nothing speaks for another one:
 * LiteLLM has never shown it, no other team names the organization, and no team of LiteLLM's went unread.
 */
export function judgeAbsence({ wasSeen, isClaimed, isEveryTeamRead }: AbsenceFacts): Absence {
  if (wasSeen) return 'deleted';
  if (isClaimed) return 'claimed';
  return isEveryTeamRead ? 'never_made' : 'uncertain';
}

/** A look at a budget in LiteLLM, between two looks at what our last write left. */
export type BudgetSight = {
  /** undefined: there was no write of ours, or one is under way. */
  leftBefore: QuotaMicros | undefined;
  /** null: unlimited; undefined: LiteLLM has no such team. */
  shown: QuotaMicros | null | undefined;
  leftAfter: QuotaMicros | undefined;
};

/**
 * Whether somebody else has edited the budget. A recharge or reversal that came between the looks is no edit.
 */
export function isBudgetEdited({ leftBefore, shown, leftAfter }: BudgetSight): boolean {
  return leftBefore !== undefined && leftAfter === leftBefore && shown !== leftBefore;
}

function blockState(blocked: boolean): string {
  return blocked ? 'blocked' : 'not blocked';
}

/** What a run has read and compared so far. */
export type SyncCounts = {
  pages: number;
  teams: number;
  organizations: number;
  unmanaged: number;
  /** Teams that could not be looked up, or whose row could not be read. */
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
