/**
 * What an organization has been refused, so that a refusal is told once and not with each alert, and told
 * again when it has passed and comes back.
 */
import { limitsOf } from '../domain/limits.ts';
import type { ToldRefusal } from '../domain/outbound-event.ts';
import { BY_CARD, BY_LITELLM } from '../domain/refusal-causes.ts';
import { toldRefusal } from '../domain/settings-warnings.ts';
import type { EntityManager } from './database.ts';
import { Organization } from './entities.ts';
import { tell } from './outbound-events.ts';
import { sqlList } from './sql.ts';

export type NotedRefusal = { organizationId: string; reason: ToldRefusal; eventId: string; teamId: string | null };

/** Counts a refusal, and tells it where the organization was not refused for this reason before. */
export async function note(tx: EntityManager, { organizationId, reason, eventId, teamId }: NotedRefusal): Promise<void> {
  const [noted] = await tx.execute<{ times: number; since: Date }[]>(
    `insert into refusal (organization_id, reason) values (?, ?)
     on conflict (organization_id, reason) do update set last_at = now(), times = refusal.times + 1
     returning times, since`,
    [organizationId, reason],
  );
  if (noted?.times !== 1) return;
  const organization = await tx.findOneOrFail(Organization, organizationId);
  const data = {
    reason,
    event_id: eventId,
    litellm_team_id: teamId,
    since: new Date(noted.since).toISOString(),
    ...toldRefusal({ ...organization, ...limitsOf(organization) }, reason, organizationId),
  };
  await tell(tx, { type: 'refusal.new', organizationId, key: `refusal/${organizationId}/${reason}/${eventId}`, data });
}

/** Whether the organization is refused for this reason until something changes. */
export async function stands(em: EntityManager, organizationId: string, reason: ToldRefusal): Promise<boolean> {
  return (await em.execute('select from refusal where organization_id = ? and reason = ?', [organizationId, reason])).length > 0;
}

/** The organization was recharged. In a transaction. */
export async function forget(tx: EntityManager, organizationId: string): Promise<void> {
  await forgetWhere(tx, organizationId, 'true');
}

/** Its balance is above the minimum again, which is no card. In a transaction. */
export async function forgetLow(tx: EntityManager, organizationId: string): Promise<void> {
  await forgetWhere(tx, organizationId, `reason not in (${sqlList(BY_CARD)})`);
}

/** With its lock, and that first. */
async function forgetWhere(tx: EntityManager, organizationId: string, condition: string): Promise<void> {
  await tx.execute(
    `with organization as (
       update organization_balance_config set low_since = null where c_organization_id = ? returning c_organization_id)
     delete from refusal where organization_id in (select c_organization_id from organization) and ${condition}`,
    [organizationId],
  );
}

/** Stripe shows a card of the organization's customer that can be charged. */
export async function forgetCardless(em: EntityManager, organizationId: string): Promise<void> {
  await forgetOf(em, organizationId, BY_CARD);
}

/** What these were about has changed: it has to be seen anew. */
export async function forgetOf(em: EntityManager, organizationId: string, reasons: readonly ToldRefusal[]): Promise<void> {
  if (reasons.length === 0) return;
  await em.execute(`delete from refusal where organization_id = ? and reason in (${sqlList(reasons)})`, [organizationId]);
}

/** Whether it is known of the organization that Stripe has shown no card of it. */
export async function isCardless(em: EntityManager, organizationId: string): Promise<boolean> {
  const rows = await em.execute(`select from refusal where organization_id = ? and reason in (${sqlList(BY_CARD)})`, [organizationId]);
  return rows.length > 0;
}

/** What would be refused, and is known before anything was asked for: it stands, and is neither counted nor told. */
export async function foresee(em: EntityManager, refused: readonly { id: string; reason: ToldRefusal }[]): Promise<void> {
  if (refused.length === 0) return;
  await em.execute(
    `insert into refusal (organization_id, reason, times)
     select id, reason, 0 from jsonb_to_recordset(?::jsonb) o (id text, reason text) order by id, reason on conflict do nothing`,
    [JSON.stringify(refused)],
  );
}

/** LiteLLM has shown the teams of these organizations. */
export async function forgetGone(em: EntityManager, organizationIds: readonly string[]): Promise<void> {
  await em.execute(
    `delete from refusal where reason = 'team_not_found' and organization_id in (select jsonb_array_elements_text(?::jsonb))`,
    [JSON.stringify(organizationIds)],
  );
}

/** LiteLLM has shown the teams of these organizations, and nothing about them forbids a recharge. */
export async function forgetUnfitness(em: EntityManager, organizationIds: readonly string[]): Promise<void> {
  if (organizationIds.length === 0) return;
  await em.execute(
    `delete from refusal where reason in (select jsonb_array_elements_text(?::jsonb))
       and organization_id in (select jsonb_array_elements_text(?::jsonb))`,
    [JSON.stringify(BY_LITELLM), JSON.stringify(organizationIds)],
  );
}
