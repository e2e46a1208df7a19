/**
 * What the stand-in knows: teams with their members and budgets, virtual keys, users. The tables of LiteLLM's
 * database.
 */
import { createHash } from 'node:crypto';
import type { JsonObject } from './validation.ts';

export type Member = { user_id: string; user_email: string | null; role: string };

/** A team member's row with a budget of its own; members without one have no row. */
export type Membership = { user_id: string; team_id: string; budget_id: string; max_budget: number | null; created_at: string };

/** One write of a team's budget, in US dollars; null is unlimited. */
export type BudgetWrite = { at: string; before: number | null; max_budget: number | null };

export type Team = {
  team_id: string;
  team_alias: string | null;
  max_budget: number | null;
  soft_budget: number | null;
  budget_duration: string | null;
  budget_reset_at: string | null;
  budget_limits: unknown[] | null;
  metadata: JsonObject;
  models: unknown[];
  tpm_limit: number | null;
  rpm_limit: number | null;
  organization_id: string | null;
  blocked: boolean;
  members: Member[];
  memberships: Membership[];
  /** What the database shows, in US dollars. */
  spend: number;
  /** What enforcement counts, in US dollars; ahead of `spend` until the next flush. */
  live_spend: number;
  created_at: string;
  updated_at: string;
  budget_writes: BudgetWrite[];
  /** Keys and members beyond those above, only shown: nobody calls with them. Set by a knob. */
  crowd?: Crowd;
};

export type Crowd = { keys: number; members: number };

export type Key = {
  /** sha256 of the key, in hex. The key itself is never stored. */
  token: string;
  key_name: string;
  key_alias: string | null;
  team_id: string | null;
  user_id: string | null;
  max_budget: number | null;
  spend: number;
  models: unknown[];
  metadata: JsonObject;
  allowed_routes: string[];
  blocked: boolean | null;
  /** ISO time after which the key is refused. */
  expires: string | null;
  created_at: string;
  created_by: string;
  updated_at: string;
  updated_by: string;
  /** When /key/update was last called; absent before. */
  settings_updated_at?: string;
};

/** A key with its secret, which only the answer that makes it shows. */
export type GeneratedKey = { secret: string; key: Key };

export type User = {
  user_id: string;
  user_alias: string | null;
  user_email: string | null;
  user_role: string | null;
  max_budget: number | null;
  models: unknown[];
  metadata: JsonObject;
  /** Ids of the teams that the user is a member of. */
  teams: string[];
  created_at: string;
  updated_at: string;
};

/** `caps`: the `max_budget` of LiteLLM's organizations, in US dollars, by their ids. */
export type Snapshot = { teams: Team[]; keys: Key[]; users: User[]; caps?: [string, number][] };

/** Budget writes remembered per team, the newest last. */
const MAX_BUDGET_WRITES = 100;

export class Store {
  readonly teams = new Map<string, Team>();
  readonly keys = new Map<string, Key>();
  readonly users = new Map<string, User>();
  /** The most that a team of an organization may have as its budget. */
  readonly caps: Map<string, number>;
  private readonly tokensByTeam = new Map<string, Set<string>>();

  constructor(saved?: Snapshot) {
    this.caps = new Map(saved?.caps);
    for (const team of saved?.teams ?? []) this.teams.set(team.team_id, team);
    for (const user of saved?.users ?? []) this.users.set(user.user_id, user);
    for (const key of saved?.keys ?? []) this.addKey(key);
  }

  snapshot(): Snapshot {
    return { teams: [...this.teams.values()], keys: [...this.keys.values()], users: [...this.users.values()], caps: [...this.caps] };
  }

  addKey(key: Key): void {
    this.keys.set(key.token, key);
    if (key.team_id === null) return;
    const tokens = this.tokensByTeam.get(key.team_id);
    if (tokens) tokens.add(key.token);
    else this.tokensByTeam.set(key.team_id, new Set([key.token]));
  }

  removeKey(key: Key): void {
    this.keys.delete(key.token);
    if (key.team_id !== null) this.tokensByTeam.get(key.team_id)?.delete(key.token);
  }

  moveKey(key: Key, team_id: string | null): void {
    this.removeKey(key);
    key.team_id = team_id;
    this.addKey(key);
  }

  keysOfTeam(team_id: string): Key[] {
    return [...(this.tokensByTeam.get(team_id) ?? [])].map((token) => this.keys.get(token) as Key);
  }

  countKeysOfTeam(team_id: string): number {
    return this.tokensByTeam.get(team_id)?.size ?? 0;
  }

  removeTeam(team: Team): void {
    for (const key of this.keysOfTeam(team.team_id)) this.removeKey(key);
    this.tokensByTeam.delete(team.team_id);
    for (const member of team.members) this.leaveTeam(member.user_id, team.team_id);
    this.teams.delete(team.team_id);
  }

  leaveTeam(user_id: string, team_id: string): void {
    const user = this.users.get(user_id);
    if (user) user.teams = user.teams.filter((id) => id !== team_id);
  }

  /** The user, created first when the id is new, as LiteLLM does for the members of a team. */
  ensureUser(user_id: string, user_role: string | null = null): User {
    const known = this.users.get(user_id);
    if (known) return known;
    const at = now();
    const user: User = {
      user_id,
      user_alias: null,
      user_email: null,
      user_role,
      max_budget: null,
      models: [],
      metadata: {},
      teams: [],
      created_at: at,
      updated_at: at,
    };
    this.users.set(user_id, user);
    return user;
  }
}

/** Sets a team's budget and remembers the write. */
export function writeBudget(team: Team, max_budget: number | null): void {
  team.budget_writes.push({ at: now(), before: team.max_budget, max_budget });
  if (team.budget_writes.length > MAX_BUDGET_WRITES) team.budget_writes.shift();
  team.max_budget = max_budget;
}

/** The time as LiteLLM prints it, with microseconds. */
export function now(): string {
  return new Date().toISOString().replace('Z', '000Z');
}

export function hashKey(key: string): string {
  return createHash('sha256').update(key).digest('hex');
}
