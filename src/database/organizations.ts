/** The organizations that pay, with the policy of each. */
import {
  ForeignKeyConstraintViolationException,
  LockMode,
  type RequiredEntityData,
  UniqueConstraintViolationException,
} from '@mikro-orm/core';
import { limitsOf } from '../domain/limits.ts';
import type { ToldRefusal } from '../domain/outbound-event.ts';
import type { RechargePolicy } from '../domain/policy.ts';
import { OPEN_STATUSES } from '../domain/recharge-status.ts';
import { REFUSALS_ABOUT } from '../domain/refusal-causes.ts';
import { shortList } from '../domain/short-list.ts';
import * as balanceSamples from './balance-samples.ts';
import { statementTime } from './clock.ts';
import type { EntityManager } from './database.ts';
import { Organization, Recharge, Team } from './entities.ts';
import * as holds from './holds.ts';
import { type Page, type PageRequest, pageByCreation } from './page.ts';
import * as refusals from './refusals.ts';

export type OrganizationSettings = Pick<
  Organization,
  | 'name'
  | 'stripeCustomerId'
  | 'litellmTeamId'
  | 'currency'
  | 'minimumBalance'
  | 'targetBalance'
  | 'quotaPerUnit'
  | 'autoRechargeEnabled'
  | 'maxDailyRecharges'
  | 'maxCharge'
  | 'maxDailyAmount'
  | 'maxMonthlyAmount'
  | 'timeZone'
  | 'blocked'
  | 'createTeam'
>;

/** Another organization has the id or the LiteLLM team. */
export class OrganizationExistsError extends Error {
  override name = 'OrganizationExistsError';
}

/** The organization's recharges, teams or events forbid the change. */
export class OrganizationInUseError extends Error {
  override name = 'OrganizationInUseError';
}

/** @throws OrganizationExistsError */
export async function create(em: EntityManager, id: string, settings: OrganizationSettings): Promise<Organization> {
  await refuseTakenTeam(em, id, settings.litellmTeamId);
  await refusingDuplicates(() => em.insert(Organization, { id, ...settings } as RequiredEntityData<Organization>));
  return em.findOneOrFail(Organization, id);
}

export async function find(em: EntityManager, id: string): Promise<Organization | null> {
  return em.findOne(Organization, id);
}

/** @throws when it is not found. */
export async function get(em: EntityManager, id: string): Promise<Organization> {
  return em.findOneOrFail(Organization, id);
}

/**
 * The organization of a recharge, by PostgreSQL's clock: whether the recharge was reserved in the last `withinMs`, and
 * whether the settings are those that it was reserved by. One statement.
 *
 * @throws when either is not found.
 */
export async function ofReservation(
  em: EntityManager,
  { id, organizationId }: Pick<Recharge, 'id' | 'organizationId'>,
  withinMs: number,
): Promise<{ organization: Organization; isJustReserved: boolean; hasSettingsOfThen: boolean }> {
  const [found] = await em.execute<{ is_just_reserved: boolean; has_settings_of_then: boolean }[]>(
    `select o.*, r.created_at > now() - ? * interval '1 millisecond' as is_just_reserved, o.updated_at < r.created_at as has_settings_of_then
     from organization_balance_config o, recharge r where o.c_organization_id = ? and r.id = ?`,
    [withinMs, organizationId, id],
  );
  if (!found) throw new Error(`recharge ${id} or its organization is not in the database`);
  const { is_just_reserved: isJustReserved, has_settings_of_then: hasSettingsOfThen, ...row } = found;
  return { organization: em.map(Organization, row as never) as Organization, isJustReserved, hasSettingsOfThen };
}

/** Newest first. @throws BadCursorError */
export async function list(
  em: EntityManager,
  { litellmTeamId, ...page }: PageRequest & { litellmTeamId?: string | undefined },
): Promise<Page<Organization>> {
  return pageByCreation(em, Organization, { filter: litellmTeamId === undefined ? {} : { litellmTeamId }, ...page });
}

/** Up to `limit` organizations behind the id `after`, in the order of ids: for work on all of them. */
export async function inOrderOfId(em: EntityManager, { after, limit }: { after: string; limit: number }): Promise<Organization[]> {
  return em.find(Organization, { id: { $gt: after } }, { orderBy: { id: 'asc' }, limit });
}

/** The ids of up to `limit` organizations behind the id `after`, in order. */
export async function idsInOrder(em: EntityManager, { after, limit }: { after: string; limit: number }): Promise<string[]> {
  const rows = await em.find(Organization, { id: { $gt: after } }, { fields: ['id'], orderBy: { id: 'asc' }, limit });
  return rows.map(({ id }) => id);
}

/** Those of the ids that are organizations. */
export async function existing(em: EntityManager, ids: readonly string[]): Promise<Set<string>> {
  return new Set((await em.find(Organization, { id: { $in: [...ids] } }, { fields: ['id'] })).map(({ id }) => id));
}

/** The organizations whose LiteLLM teams are among these. */
export async function ofLitellmTeams(em: EntityManager, teamIds: readonly string[]): Promise<Organization[]> {
  return em.find(Organization, { litellmTeamId: { $in: [...teamIds] } });
}

/** The organizations that this Stripe customer pays for. */
export async function ofCustomer(em: EntityManager, customerId: string): Promise<Organization[]> {
  return em.find(Organization, { stripeCustomerId: customerId });
}

/** The organizations that any of these Stripe customers pays for, by id. */
export async function ofCustomers(em: EntityManager, customerIds: readonly string[]): Promise<Organization[]> {
  return em.find(Organization, { stripeCustomerId: { $in: [...customerIds] } }, { orderBy: { id: 'asc' } });
}

/**
 * Notes that LiteLLM was just seen to have these teams. Locks their organizations in one order, because runs
 * may be concurrent.
 */
export async function markSeen(em: EntityManager, teamIds: readonly string[]): Promise<void> {
  await em.execute(
    `update organization_balance_config set litellm_seen_at = now() where c_organization_id in (
       select c_organization_id from organization_balance_config
       where litellm_team_id in (select jsonb_array_elements_text(?::jsonb)) order by c_organization_id for no key update)`,
    [JSON.stringify(teamIds)],
  );
}

/**
 * Up to `limit` organizations behind the id `after` whose team was not seen in LiteLLM since then.
 *
 * @param among only these; null: all.
 */
export async function unseenSince(
  em: EntityManager,
  since: Date,
  { after, limit, among }: { after: string; limit: number; among: readonly string[] | null },
): Promise<Organization[]> {
  const unseen = { $or: [{ litellmSeenAt: null }, { litellmSeenAt: { $lt: since } }] };
  const where = { ...unseen, id: { $gt: after, ...(among && { $in: [...among] }) } };
  return em.find(Organization, where, { orderBy: { id: 'asc' }, limit });
}

/**
 * Up to `limit` organizations whose team LiteLLM was seen to have, and that no sweep has seen since then. Those whose
 * team is known to be gone are left out. In another order each time: those that are there, or cannot be looked up, would
 * else stand before the others for ever.
 */
export async function missedSince(em: EntityManager, since: Date, limit: number): Promise<Organization[]> {
  const rows = await em.execute<{ id: string }[]>(
    `select o.c_organization_id as id from organization_balance_config o
     left join lateral (select at from balance_sample where organization_id = o.c_organization_id order by at desc limit 1) seen on true
     where o.litellm_seen_at < ? and coalesce(seen.at, '-infinity') < ?
       and not exists (select from refusal f where f.organization_id = o.c_organization_id and f.reason = 'team_not_found')
     order by random() limit ?`,
    [since, since, limit],
  );
  return em.find(Organization, { id: { $in: rows.map(({ id }) => id) } }, { orderBy: { id: 'asc' } });
}

/** So many of the latest payments are looked at for customers: one may have made many of them. */
const LATEST_PAYMENTS = 500;

/** Up to `limit` Stripe customers of other organizations, those that have paid last first. */
export async function otherCustomers(em: EntityManager, customerId: string, limit: number): Promise<string[]> {
  const rows = await em.execute<{ id: string }[]>(
    `with paid as (
       select o.stripe_customer_id as id, r.updated_at as at
       from (select organization_id, updated_at from recharge where status = 'succeeded' order by updated_at desc limit ?) r
       join organization_balance_config o on o.c_organization_id = r.organization_id where o.stripe_customer_id <> ?),
     others as (
       select distinct stripe_customer_id as id from organization_balance_config where stripe_customer_id <> ?
       order by stripe_customer_id limit ? + (select count(*) from paid))
     select id from (select id, at from paid union all select id, null from others) customer
     group by id order by max(at) desc nulls last, id limit ?`,
    [LATEST_PAYMENTS, customerId, customerId, limit, limit],
  );
  return rows.map(({ id }) => id);
}

/**
 * Changes settings. A value that is there already changes nothing; what differs ends the pause of the sweep, and what was
 * refused because of it is forgotten. Null when the organization is not found.
 *
 * @param seenTeamId the team that the change was decided on, where one was looked at.
 * @param isTeamGone LiteLLM does not have that team. Else its members and their keys would stay with it when the organization
 *   moves, and spend a budget that nobody watches.
 * @throws OrganizationExistsError; OrganizationInUseError, also where it has another team by now.
 */
export async function change(
  em: EntityManager,
  id: string,
  changes: Partial<OrganizationSettings>,
  { seenTeamId, isTeamGone = false }: { seenTeamId?: string; isTeamGone?: boolean } = {},
): Promise<Organization | null> {
  return em.transactional(async (tx) => {
    const organization = await tx.findOne(Organization, id, { lockMode: LockMode.PESSIMISTIC_WRITE });
    if (!organization) return null;
    if (seenTeamId !== undefined && organization.litellmTeamId !== seenTeamId) {
      throw new OrganizationInUseError(`the organization has the team ${organization.litellmTeamId} by now`);
    }
    const movesTeam = changes.litellmTeamId !== undefined && changes.litellmTeamId !== organization.litellmTeamId;
    const open = movesTeam ? await tx.findOne(Recharge, { organizationId: id, status: { $in: [...OPEN_STATUSES] } }) : null;
    if (open) {
      const look = `bill recharges show ${open.id} says what it waits for`;
      throw new OrganizationInUseError(`a recharge of the present litellm_team_id is not finished: ${look}`);
    }
    if (movesTeam) await refuseTakenTeam(tx, id, changes.litellmTeamId);
    const removal = movesTeam && !isTeamGone ? await removalOfTeams(tx, id) : null;
    if (removal !== null) {
      throw new OrganizationInUseError(
        `teams of the organization are members of ${organization.litellmTeamId}, and their keys spend its budget: ${removal}`,
      );
    }
    // Nobody has seen the new team, and what was asked for was the old one.
    const ofNewTeam = movesTeam ? { litellmSeenAt: null, lowSince: null, createTeam: false } : {};
    const differing = differingOf(organization, changes);
    if (differing.length === 0) return organization;
    // No team is made again that LiteLLM has had.
    const mayBeMade = movesTeam || !organization.litellmSeenAt;
    const settling = differing.filter((property) => property !== 'createTeam' || mayBeMade);
    await refusingDuplicates(() => tx.nativeUpdate(Organization, { id }, { ...ofNewTeam, ...changes, updatedAt: statementTime() }));
    if (movesTeam) await balanceSamples.forget(tx, id);
    if (SHOWN_IN_AMOUNTS.some((property) => differing.includes(property))) await holds.forgetAmounts(tx, id);
    await refusals.forgetOf(
      tx,
      id,
      settling.flatMap((property) => ABOUT[property]),
    );
    return tx.findOne(Organization, id);
  });
}

/** More are counted. */
const MAX_TEAMS_NAMED = 5;

/** What removes the teams of an organization, with the command; null: it has none. */
async function removalOfTeams(em: EntityManager, id: string): Promise<string | null> {
  const [teams, count] = await em.findAndCount(Team, { organizationId: id }, { orderBy: { id: 'asc' }, limit: MAX_TEAMS_NAMED });
  const names = shortList(
    teams.map((team) => team.id),
    count,
  );
  const path = `/api/v1/organizations/${id}/teams/<id>`;
  return count === 0
    ? null
    : `remove ${names} first, each by curl -X DELETE "$PUBLIC_URL${path}" -H "Authorization: Bearer $ADMIN_API_KEY"`;
}

/** Who pays, for what, and in which currency: whoever approves an amount has seen these. */
const SHOWN_IN_AMOUNTS = ['currency', 'stripeCustomerId', 'litellmTeamId'] as const;

/** What the checks of a change rest on that it does not make itself: whether an amount is one, and the target above the minimum. */
const CHECKED_ON = [
  'currency',
  'quotaPerUnit',
  'minimumBalance',
  'targetBalance',
  'maxCharge',
  'maxDailyAmount',
  'maxMonthlyAmount',
] as const;

/**
 * Locks the organization for a change that was checked against `seen`. In the transaction of the change.
 *
 * @throws OrganizationInUseError where another change has come between.
 */
export async function requireAsSeen(tx: EntityManager, seen: Organization, changes: Partial<OrganizationSettings>): Promise<void> {
  const present = await tx.findOne(Organization, seen.id, { lockMode: LockMode.PESSIMISTIC_WRITE });
  const valueIn = (settings: Partial<OrganizationSettings>, property: (typeof CHECKED_ON)[number]) => settings[property] ?? null;
  const changed = CHECKED_ON.filter(
    (property) =>
      present &&
      valueIn(present, property) !== valueIn(seen, property) &&
      !(property in changes && valueIn(present, property) === valueIn(changes, property)),
  );
  if (changed.length > 0) throw new OrganizationInUseError('its settings were changed meanwhile: look at them, then try again');
}

// A setting that is missing there does not type-check.
const ABOUT: Readonly<Record<keyof OrganizationSettings, readonly ToldRefusal[]>> = REFUSALS_ABOUT;

function differingOf(organization: Organization, changes: Partial<OrganizationSettings>): (keyof OrganizationSettings)[] {
  const properties = Object.keys(changes) as (keyof OrganizationSettings)[];
  return properties.filter((property) => (changes[property] ?? null) !== (organization[property] ?? null));
}

/**
 * True when it was deleted; false when it is not found.
 *
 * @throws OrganizationInUseError when it has teams, recharges or an open event.
 */
export async function remove(em: EntityManager, id: string): Promise<boolean> {
  const removed = await refusedForReferences(() =>
    em.execute<{ c_organization_id: string }[]>(
      `with gone as (delete from organization_balance_config o where c_organization_id = ?
       and not exists (select from recharge r where r.organization_id = o.c_organization_id)
       and not exists (select from team t where t.c_organization_id = o.c_organization_id)
       and not exists (select from webhook_event e where e.organization_id = o.c_organization_id and not e.processed)
       returning c_organization_id),
     refusals as (delete from refusal where organization_id in (select c_organization_id from gone))
     select c_organization_id from gone`,
      [id],
    ),
  );
  if (removed.length === 0 && (await find(em, id))) {
    const removal = await removalOfTeams(em, id);
    if (removal !== null) throw new OrganizationInUseError(`the organization has teams: ${removal}`);
    throw new OrganizationInUseError('the organization has recharges, which are kept: hold it instead');
  }
  return removed.length === 1;
}

/** Nothing, where a team or a recharge was made after the statement had looked for one: a foreign key keeps the organization. */
async function refusedForReferences<Row>(remove: () => Promise<Row[]>): Promise<Row[]> {
  try {
    return await remove();
  } catch (error) {
    if (error instanceof ForeignKeyConstraintViolationException) return [];
    throw error;
  }
}

export function policyOf(organization: Organization): RechargePolicy {
  return { ...organization, ...limitsOf(organization) };
}

/** Says whose the team is. What comes at the same time is left to the unique index. @throws OrganizationExistsError */
async function refuseTakenTeam(em: EntityManager, id: string, litellmTeamId: string | undefined): Promise<void> {
  if (litellmTeamId === undefined) return;
  const owner = await em.findOne(Organization, { litellmTeamId, id: { $ne: id } }, { fields: ['id'] });
  if (owner) throw new OrganizationExistsError(`this litellm_team_id is that of the organization ${owner.id}`);
}

async function refusingDuplicates<T>(write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    if (!(error instanceof UniqueConstraintViolationException)) throw error;
    throw new OrganizationExistsError(
      error.message.includes('litellm_team_id')
        ? 'another organization has this litellm_team_id'
        : 'an organization with this id exists: bill org set changes it',
    );
  }
}
