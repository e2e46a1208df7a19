/** `/team/member_*`. Only members with a budget of their own have a membership row. */
import { randomUUID } from 'node:crypto';
import type { Handler } from './context.ts';
import { httpException, memberTeamNotFound, proxyException } from './errors.ts';
import { pyRepr } from './python.ts';
import { membershipRow, teamRow, userRow } from './rows.ts';
import { type Member, now, type Store, type Team } from './store.ts';
import { type JsonObject, readBody } from './validation.ts';

/**
 * POST /team/member_add, one member or a list. @throws 404 for an unknown team, 400 for a user who is a
 * member already.
 */
export const addMembers: Handler = ({ store }, { body }) => {
  const wanted = readBody({ team_id: 'string!', member: 'any!', max_budget_in_team: 'float' }, body);
  const team = store.teams.get(wanted.team_id);
  if (!team) throw memberTeamNotFound(wanted.team_id);
  const members = (Array.isArray(wanted.member) ? wanted.member : [wanted.member]).map(readMember);
  for (const member of members) {
    if (team.members.some(({ user_id }) => user_id === member.user_id)) {
      throw proxyException(
        400,
        'team_member_already_in_team',
        `User already in team. Member: user_id=${member.user_id}, user_email=${member.user_email ?? 'None'}. Existing members=[${team.members.map(memberRepr).join(', ')}]`,
        'member',
      );
    }
  }
  for (const member of members) addMember(store, team, member, wanted.max_budget_in_team ?? undefined);
  const ids = members.map(({ user_id }) => user_id);
  return {
    ...teamRow(team),
    updated_users: ids.map((id) => userRow(store.ensureUser(id))),
    updated_team_memberships: team.memberships.filter(({ user_id }) => ids.includes(user_id)).map(membershipRow),
  };
};

/** POST /team/member_update: a member's budget in the team. The role `admin` is for Enterprise. */
export const updateMember: Handler = ({ store }, { body }) => {
  const wanted = readBody(
    { team_id: 'string!', user_id: 'string', user_email: 'string', role: 'string', max_budget_in_team: 'float' },
    body,
  );
  if (wanted.role === 'admin')
    throw httpException(400, 'Assigning team admins is a premium feature. You must be a LiteLLM Enterprise user to use this feature.');
  const team = store.teams.get(wanted.team_id);
  if (!team) throw noTeamOfMember(wanted.team_id);
  if (!wanted.user_id) throw httpException(400, { error: 'Either user_id or user_email needs to be passed in' });
  if (wanted.max_budget_in_team !== undefined) setMemberBudget(team, wanted.user_id, wanted.max_budget_in_team);
  return {
    user_id: wanted.user_id,
    user_email: wanted.user_email ?? null,
    team_id: team.team_id,
    max_budget_in_team: wanted.max_budget_in_team ?? null,
    tpm_limit: null,
    rpm_limit: null,
    budget_duration: null,
    allowed_models: null,
  };
};

/** POST /team/member_delete → the row. @throws 400 for a user who is not a member. */
export const deleteMember: Handler = ({ store }, { body }) => {
  const { team_id, user_id } = readBody({ team_id: 'string!', user_id: 'string' }, body);
  const team = store.teams.get(team_id);
  if (!team) throw noTeamOfMember(team_id);
  const index = team.members.findIndex((member) => member.user_id === user_id);
  if (!user_id || index < 0) throw httpException(400, { error: 'User not found in team' });
  team.members.splice(index, 1);
  team.memberships = team.memberships.filter((membership) => membership.user_id !== user_id);
  store.leaveTeam(user_id, team_id);
  return teamRow(team);
};

/** Adds a member. @param max_budget of the member within the team, in US dollars. */
export function addMember(store: Store, team: Team, member: Member, max_budget?: number): void {
  team.members.push(member);
  store.ensureUser(member.user_id, 'internal_user').teams.push(team.team_id);
  if (max_budget !== undefined) setMemberBudget(team, member.user_id, max_budget);
}

/** `{role, user_id, user_email}`; a member without an id gets one. @throws 422. */
export function readMember(value: unknown): Member {
  const member = readBody({ role: 'string!', user_id: 'string', user_email: 'string' }, value as JsonObject);
  return { user_id: member.user_id ?? randomUUID(), user_email: member.user_email ?? null, role: member.role };
}

function setMemberBudget(team: Team, user_id: string, max_budget: number | null): void {
  const membership = team.memberships.find((row) => row.user_id === user_id);
  if (membership) membership.max_budget = max_budget;
  else team.memberships.push({ user_id, team_id: team.team_id, budget_id: randomUUID(), max_budget, created_at: now() });
}

/** As the routes say it that change a membership: 400, unlike every other route. */
function noTeamOfMember(team_id: string) {
  return httpException(400, { error: `Team id=${team_id} does not exist in db` });
}

function memberRepr({ user_id, user_email, role }: Member): string {
  return `Member(user_id=${pyRepr(user_id)}, user_email=${pyRepr(user_email)}, role=${pyRepr(role)})`;
}
