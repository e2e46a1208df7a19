/**
 * LiteLLM's rows as the service sees them. What we need is checked; what we do not know is ignored.
 *
 * A field that is left out is neither null nor zero. What a decision about money rests on has to be there, or
 * the row is unreadable. Fields that LiteLLM has added to teams in the course of time may be missing, and then
 * mean nothing.
 */
import { z } from 'zod';
import { quotaFromDollars } from '../domain/money.ts';
import type { LiveBudget } from '../domain/policy.ts';

/** Beyond this a double of dollars is no longer exact to a micro-dollar, and nobody has paid for it. */
const MAX_DOLLARS = 1e9;

const dollars = z.number().min(-MAX_DOLLARS).max(MAX_DOLLARS).transform(quotaFromDollars);
/** null is no limit. One that is too large to compute with is none either. */
const limit = z
  .number()
  .transform((value) => (Math.abs(value) <= MAX_DOLLARS ? quotaFromDollars(value) : null))
  .nullable();
const limitOrNone = limit.nullish().transform((value) => value ?? null);
const flag = z
  .boolean()
  .nullish()
  .transform((value) => value ?? false);
const text = z
  .string()
  .nullish()
  .transform((value) => value ?? null);
const metadata = z.record(z.string(), z.unknown()).catch({});

/** A team as LiteLLM's database shows it: `spend` lags by up to 15 s. */
export type KmsTeam = LiveBudget & {
  teamId: string;
  alias: string | null;
  blocked: boolean;
  metadata: Record<string, unknown>;
  membersCount: number;
  /** As the list counts them; 0 in `/team/info`, which is asked for none of them. */
  keysCount: number;
  memberUserIds?: string[];
};

/**
 * A team as `/v2/team/list`, `/team/new` and `/team/info` (there without the counts) show it. Every LiteLLM
 * shows budget, spend, period and block. Its migrations added `soft_budget` and `budget_limits` to teams in
 * 2026: a LiteLLM that does not show them enforces none.
 */
export const teamRow = z
  .object({
    team_id: z.string(),
    team_alias: text,
    max_budget: limit,
    spend: dollars,
    soft_budget: limitOrNone,
    budget_duration: z.string().nullable(),
    budget_limits: z.unknown().optional(),
    blocked: z.boolean(),
    metadata,
    members_with_roles: z.array(z.object({ user_id: z.string().nullish() })).optional(),
    members_count: z.number().optional(),
    keys_count: z.number().optional(),
  })
  .transform((row): KmsTeam => {
    const memberUserIds = row.members_with_roles?.flatMap(({ user_id }) => user_id ?? []);
    return {
      teamId: row.team_id,
      alias: row.team_alias,
      quota: row.max_budget,
      spend: row.spend,
      softBudget: row.soft_budget,
      budgetDuration: row.budget_duration,
      hasBudgetLimits: Array.isArray(row.budget_limits) && row.budget_limits.length > 0,
      blocked: row.blocked,
      metadata: row.metadata,
      membersCount: row.members_count ?? memberUserIds?.length ?? 0,
      keysCount: row.keys_count ?? 0,
      ...(memberUserIds && { memberUserIds }),
    };
  });

/** A member's own limit within a team; null: it has none. */
export type KmsMembership = { userId: string; maxBudgetInTeam: KmsTeam['quota'] };

/** `/team/info` without its lists. */
export const teamInfo = z.object({ team_info: teamRow }).transform(({ team_info }) => team_info);

const membership = z.object({ user_id: z.string(), litellm_budget_table: z.object({ max_budget: limitOrNone }).nullish() });

export const teamInfoWithMembers = z
  .object({ team_info: teamRow, team_memberships: z.array(membership).nullish() })
  .transform(({ team_info, team_memberships }) => ({
    team: team_info,
    memberships: (team_memberships ?? []).map(
      ({ user_id, litellm_budget_table }): KmsMembership => ({
        userId: user_id,
        maxBudgetInTeam: litellm_budget_table?.max_budget ?? null,
      }),
    ),
  }));

export type KmsUser = { userId: string; alias: string | null; role: string | null; metadata: Record<string, unknown> };

export const userRow = z
  .object({ user_id: z.string(), user_alias: text, user_role: text, metadata })
  .transform((row): KmsUser => ({ userId: row.user_id, alias: row.user_alias, role: row.user_role, metadata: row.metadata }));

export const userInfo = z.object({ user_info: userRow }).transform(({ user_info }) => user_info);

/** A virtual key without its secret. `token` is the secret's SHA-256, which stands for it in every call. */
export type KmsKey = { token: string; alias: string | null; teamId: string | null; userId: string | null; blocked: boolean };

const keyFields = { key_alias: text, team_id: text, user_id: text, blocked: flag };
const keyOf = (token: string, row: z.output<z.ZodObject<typeof keyFields>>): KmsKey => ({
  token,
  alias: row.key_alias,
  teamId: row.team_id,
  userId: row.user_id,
  blocked: row.blocked,
});

export const keyRow = z.object({ token: z.string(), ...keyFields }).transform((row) => keyOf(row.token, row));

/** The row lacks its token here; `key` repeats the one that was asked for. */
export const keyInfo = z.object({ key: z.string(), info: z.object(keyFields) }).transform(({ key, info }) => keyOf(key, info));

/** One page. Rows that could not be read are kept apart, so that one of them does not hide the others. */
export type KmsPage<Row> = { rows: Row[]; unreadable: { id: string; reason: string }[] };

/** Reads each row by itself. @param idField the field with a row's id, to name a row that cannot be read. */
export function readRows<Row>(schema: z.ZodType<Row>, rows: unknown[], idField: string): KmsPage<Row> {
  const page: KmsPage<Row> = { rows: [], unreadable: [] };
  for (const row of rows) {
    const read = schema.safeParse(row);
    if (read.success) page.rows.push(read.data);
    else {
      const id = (row as Record<string, unknown> | null)?.[idField];
      page.unreadable.push({ id: typeof id === 'string' ? id : 'no id', reason: z.prettifyError(read.error) });
    }
  }
  return page;
}
