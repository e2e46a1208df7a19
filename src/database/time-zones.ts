/**
 * Organizations whose time zone PostgreSQL does not know any more. Their days and months are those of UTC
 * until it is corrected, so that their limits stay; it is told once, and shown wherever they are.
 */
import { timeZoneAdvice } from '../domain/settings-warnings.ts';
import type { EntityManager } from './database.ts';
import { tell } from './outbound-events.ts';

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
