/** Whether PostgreSQL knows the time zone of each organization. */
import type { EntityManager } from '../../database/database.ts';
import { unknownTimeZones } from '../../database/time-zones.ts';
import { timeZoneAdvice } from '../../domain/settings-warnings.ts';
import { change, type Reading, runCheck } from './reading.ts';

const AREA = 'organizations';
/** Each has a line of its own, up to so many. */
const SHOWN = 20;

export async function examineTimeZones(em: EntityManager): Promise<Reading[]> {
  const unknown = await unknownTimeZones(em, 'all');
  if (unknown.length === 0) return [await runCheck({ area: AREA, check: 'time zones' }, async () => 'PostgreSQL knows all of them')];
  const others = unknown.length > SHOWN ? `; ${unknown.length} organizations have such a zone` : '';
  return Promise.all(
    unknown
      .slice(0, SHOWN)
      .map(({ organizationId, timeZone }) =>
        runCheck({ area: AREA, check: organizationId }, async () =>
          change(
            `PostgreSQL does not know its time zone ${timeZone}: days and months are those of UTC${others}`,
            timeZoneAdvice(organizationId),
          ),
        ),
      ),
  );
}
