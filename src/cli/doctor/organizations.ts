/** How organizations stand, as `bill status` has it: nothing is fine here that is not fine there. */
import type { EntityManager } from '../../database/database.ts';
import * as status from '../../database/status.ts';
import { lagLine, underWayLine } from '../../domain/service-status.ts';
import { isQuiet, ORGANIZATION_STATES, type OrganizationState, STATE_NAMES, standingOf } from '../../domain/status.ts';
import { change, note, type Observation, type Reading, runCheck } from './reading.ts';

const PAGE = 200;

/**
 * The organizations by their states, and what waits.
 *
 * @param stop what keeps every run from going on; null: nothing that is known.
 */
export async function examineStandings(em: EntityManager, stop: string | null): Promise<Reading[]> {
  const standings = await runCheck({ area: 'organizations', check: 'states', advice: 'see the line about the database' }, () =>
    statesOf(em),
  );
  const { lags, underWay } = await status.serviceFacts(em);
  const waiting = [...lags.map(lagLine), underWayLine(underWay, stop)].map(
    ({ check, isFine, seen, next }): Reading => ({ area: 'waiting', check, verdict: isFine ? 'ok' : 'change', seen, advice: next }),
  );
  return [standings, ...waiting];
}

async function statesOf(em: EntityManager): Promise<Observation> {
  const counts = new Map<OrganizationState, number>();
  const now = new Date();
  for (let after: string | undefined = ''; after !== undefined; ) {
    const page: Awaited<ReturnType<typeof status.organizationFacts>> = await status.organizationFacts(em, 'concerned', {
      limit: PAGE,
      after,
    });
    for (const facts of page.data) {
      const { state } = standingOf(facts, now);
      counts.set(state, (counts.get(state) ?? 0) + 1);
    }
    after = page.next ?? undefined;
  }
  const total = await status.countOrganizations(em);
  const named = ORGANIZATION_STATES.filter((state) => state !== 'ok' && counts.has(state));
  if (named.length === 0) return `all ${total} are ok`;
  const seen = `of ${total}: ${named.map((state) => `${counts.get(state)} ${STATE_NAMES[state]}`).join(', ')}`;
  const advice = 'bill status says which, why, and what to do';
  return named.every(isQuiet) ? note(seen, advice) : change(seen, advice);
}
