/** The organizations that pay, with the policy of each. */
import { type RequiredEntityData, UniqueConstraintViolationException } from '@mikro-orm/core';
import type { RechargePolicy } from '../domain/policy.ts';
import type { EntityManager } from './database.ts';
import { Organization } from './entities.ts';
import { type Page, type PageRequest, toPage } from './page.ts';

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
  | 'timeZone'
>;

/** The id or the LiteLLM team belongs to another organization already. */
export class OrganizationExistsError extends Error {
  override name = 'OrganizationExistsError';
}

export async function create(em: EntityManager, id: string, settings: OrganizationSettings): Promise<Organization> {
  await refusingDoubles(() => em.insert(Organization, { id, ...settings } as RequiredEntityData<Organization>));
  return em.findOneOrFail(Organization, id);
}

export async function find(em: EntityManager, id: string): Promise<Organization | null> {
  return em.findOne(Organization, id, { refresh: true });
}

export async function list(em: EntityManager, { limit, cursor }: PageRequest): Promise<Page<Organization>> {
  const after = cursor
    ? 'where (created_at, c_organization_id) < (select created_at, c_organization_id from organization_balance_config where c_organization_id = ?)'
    : '';
  const ids = await em.execute<{ id: string }[]>(
    `select c_organization_id as id from organization_balance_config ${after} order by created_at desc, c_organization_id desc limit ?`,
    [...(cursor ? [cursor] : []), limit + 1],
  );
  const found = new Map(
    (await em.find(Organization, { id: { $in: ids.map(({ id }) => id) } })).map((organization) => [organization.id, organization]),
  );
  return toPage(
    ids.flatMap(({ id }) => found.get(id) ?? []),
    limit,
  );
}

/** Null when there is no such organization. */
export async function change(
  em: EntityManager,
  id: string,
  changes: Partial<OrganizationSettings & Pick<Organization, 'suspendedAt' | 'suspendedReason'>>,
): Promise<Organization | null> {
  await refusingDoubles(() => em.nativeUpdate(Organization, { id }, { ...changes, updatedAt: new Date() }));
  return find(em, id);
}

/** True when it is gone. @throws ForeignKeyConstraintViolationException when it has recharges: those are kept. */
export async function remove(em: EntityManager, id: string): Promise<boolean> {
  return (await em.nativeDelete(Organization, { id })) > 0;
}

export function policyOf(organization: Organization): RechargePolicy {
  return { ...organization, suspended: organization.suspendedAt !== null };
}

async function refusingDoubles<T>(write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    if (!(error instanceof UniqueConstraintViolationException)) throw error;
    throw new OrganizationExistsError(
      error.message.includes('litellm_team_id') ? 'another organization has this litellm_team_id' : 'an organization with this id exists',
    );
  }
}
