import * as books from '../../src/database/books.ts';
import type { EntityManager } from '../../src/database/database.ts';
import { tellFindings } from '../../src/database/drift-events.ts';
import * as holds from '../../src/database/holds.ts';
import * as organizations from '../../src/database/organizations.ts';
import { type Finding, findingOf } from '../../src/domain/finding.ts';
import { formatMoney, formatQuota, minorUnits } from '../../src/domain/money.ts';
import { OVERDUE_STATUSES, overdueAfter } from '../../src/domain/overdue.ts';
import { shortList } from '../../src/domain/short-list.ts';
import type { ActivityDependencies } from '../dependencies.ts';

/** More than a person reads at once. */
const MAX_HOLDS = 200;
/** A page's transfers are read by one statement. */
const ORGANIZATIONS_A_PAGE = 200;
/** Of an organization's recharges so many are named. */
const NAMED = 5;

/**
 * The oracle of every test, on the live books: no settled recharge holds money, no two recharges have made one step,
 * and what waits for a person is shown with its age for as long as it waits.
 *
 * The first two are faults and are told outwards, once. A parked recharge, an overdue one and a hold tell of
 * themselves.
 */
export function checkBooks({ database }: Pick<ActivityDependencies, 'database'>) {
  return async (): Promise<Finding[]> => {
    const em = database.fork();
    const faults = [...(await findUnbalanced(em)), ...(await findOverlaps(em))];
    await tellFindings(em, faults);
    return [...faults, ...(await findUnsettled(em)), ...(await findHolds(em))];
  };
}

/** The whole ledger, by pages of organizations. */
async function findUnbalanced(em: EntityManager): Promise<Finding[]> {
  const found: books.Unbalanced[] = [];
  for (let after: string | undefined = ''; after !== undefined && found.length < books.LIMIT; ) {
    const ids: string[] = await organizations.idsInOrder(em, { after, limit: ORGANIZATIONS_A_PAGE });
    found.push(...(await books.unbalanced(em, ids)));
    after = ids.length === ORGANIZATIONS_A_PAGE ? ids.at(-1) : undefined;
  }
  return found.slice(0, books.LIMIT).map(({ organizationId, currency, held, since, rechargeIds }) => {
    const amount = `${formatMoney(minorUnits(Math.abs(held)), currency)} ${currency.toUpperCase()}`;
    const what = held > 0 ? `${amount} is held` : `${amount} was given that nobody has paid`;
    return findingOf('prepaid_not_zero', {
      subject: shortList(rechargeIds.slice(0, NAMED), rechargeIds.length),
      organizationId,
      seen: `${what} since ${since.toISOString()}, and no recharge is open for it`,
    });
  });
}

async function findOverlaps(em: EntityManager): Promise<Finding[]> {
  return (await books.overlaps(em)).map(({ organizationId, teamId, steps }) => {
    const told = steps.map(({ rechargeId, before, after }) => `${rechargeId} from ${formatQuota(before)} to ${formatQuota(after)}`);
    return findingOf('step_made_twice', {
      subject: steps[0].rechargeId,
      organizationId,
      seen: `the budget of team ${teamId} was raised by ${told.join(', and by ')}`,
    });
  });
}

async function findUnsettled(em: EntityManager): Promise<Finding[]> {
  const now = new Date();
  return (await books.unsettled(em)).flatMap(({ id: subject, organizationId, status, currency, held, since, reason }) => {
    const isParked = status === 'needs_attention';
    const isOverdue = (OVERDUE_STATUSES as readonly string[]).includes(status) && overdueAfter(since, now) !== undefined;
    if (!isParked && !isOverdue) return [];
    const money = `${formatMoney(held, currency)} ${currency.toUpperCase()} held`;
    const seen = `${status} since ${since.toISOString()}, ${money}${reason ? `: ${reason}` : ''}`;
    return [findingOf(isParked ? 'recharge_parked' : 'recharge_overdue', { subject, organizationId, seen })];
  });
}

async function findHolds(em: EntityManager): Promise<Finding[]> {
  return (await holds.standing(em, MAX_HOLDS)).map(({ id: subject, organizationId, reason, detail, since }) =>
    findingOf('hold_stands', { subject, organizationId: organizationId ?? '', seen: `${reason} since ${since.toISOString()}: ${detail}` }),
  );
}
