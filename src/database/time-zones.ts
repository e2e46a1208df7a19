/**
 * Time zones as PostgreSQL knows them. Of an organization whose zone it does not know any more the days and months are those
 * of UTC until it is corrected, so that its limits stay; it is told once, and shown wherever the organization is.
 */
import { timeZoneAdvice } from '../domain/settings-warnings.ts';
import type { EntityManager } from './database.ts';
import { tell } from './outbound-events.ts';

/** Whether PostgreSQL, which computes the days and months of the limits, knows the zone. */
export async function isKnown(em: EntityManager, name: string): Promise<boolean> {
  return (await em.execute('select from pg_timezone_names where name = ?', [name])).length > 0;
}

export type UnknownTimeZone = { organizationId: string; timeZone: string };

/** Those among these organizations, or among all, in the order of ids. */
export async function unknownTimeZones(em: EntityManager, organizationIds: readonly string[] | 'all'): Promise<UnknownTimeZone[]> {
  const isAsked = organizationIds === 'all' ? 'true' : 'c_organization_id in (select jsonb_array_elements_text(?::jsonb))';
  return em.execute<UnknownTimeZone[]>(
    `select c_organization_id as "organizationId", time_zone as "timeZone" from organization_balance_config
     where ${isAsked} and known_time_zone(time_zone) <> time_zone order by c_organization_id`,
    organizationIds === 'all' ? [] : [JSON.stringify(organizationIds)],
  );
}

/** Tells each of them once for its zone. */
export async function tellUnknownTimeZones(em: EntityManager, organizationIds: readonly string[]): Promise<void> {
  for (const { organizationId, timeZone } of await unknownTimeZones(em, organizationIds)) {
    const data = {
      kind: 'time_zone_unknown',
      subject: organizationId,
      seen: timeZone,
      expected: 'a time zone that PostgreSQL knows; UTC is used meanwhile',
      action: timeZoneAdvice(organizationId),
    };
    await tell(em, { type: 'drift.detected', organizationId, key: `time_zone/${organizationId}/${timeZone}`, data });
  }
}
