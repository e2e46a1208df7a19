/**
 * What organizations have tried and paid, as their limits count it: by PostgreSQL's clock and time zones,
 * whatever a worker's clock says.
 */

import type { Card } from '../domain/card.ts';
import { minorUnits } from '../domain/money.ts';
import type { RechargeHistory } from '../domain/policy.ts';
import { ATTEMPTED_STATUSES, CHARGED_STATUSES, OPEN_STATUSES } from '../domain/recharge-status.ts';
import type { EntityManager } from './database.ts';
import * as holds from './holds.ts';
import { sqlList } from './sql.ts';

/**
 * SQL for the beginning of the day or month in which `instant` lies, in a time zone.
 *
 * @param zone SQL for its IANA name.
 */
export function beginningOf(unit: 'day' | 'month', zone: string, instant = 'now()'): string {
  return `date_trunc('${unit}', ${instant} at time zone ${zone}) at time zone ${zone}`;
}

/**
 * The history of one organization. Its limits hold only where the caller has locked the organization.
 *
 * @param card where it is known; its holds apply too then.
 * @throws when it is not found.
 */
export async function historyOf(tx: EntityManager, organizationId: string, card?: Card): Promise<RechargeHistory> {
  const history = (await historiesOf(tx, [organizationId])).get(organizationId);
  if (!history) throw new Error(`organization ${organizationId} is not in the database`);
  return { ...history, holds: await holds.applyingTo(tx, organizationId, card) };
}

type HistoryRow = { id: string; attempts: number; charged: string; open: boolean };

/**
 * By organization: the attempts of its calendar day, what its calendar month has cost or may still cost,
 * whether a recharge is open, and the holds that apply whatever its card. Which statuses count for what is in
 * domain/recharge-status.
 */
export async function historiesOf(em: EntityManager, organizationIds: readonly string[]): Promise<Map<string, RechargeHistory>> {
  const rows = await em.execute<HistoryRow[]>(
    `select o.c_organization_id as id, today.attempts, month.charged, open.open
     from organization_balance_config o,
     lateral (
       select count(*)::integer as attempts from recharge r
       where r.organization_id = o.c_organization_id and r.status in (${sqlList(ATTEMPTED_STATUSES)})
         and r.created_at >= ${beginningOf('day', 'o.time_zone')}) today,
     lateral (
       select coalesce(sum(r.amount_minor), 0) as charged from recharge r
       where r.organization_id = o.c_organization_id and r.currency = o.currency
         and r.status in (${sqlList(CHARGED_STATUSES)})
         and r.created_at >= ${beginningOf('month', 'o.time_zone')}) month,
     lateral (
       select exists (select from recharge r where r.organization_id = o.c_organization_id
         and r.status in (${sqlList(OPEN_STATUSES)}))) open (open)
     where o.c_organization_id in (select jsonb_array_elements_text(?::jsonb))`,
    [JSON.stringify(organizationIds)],
  );
  const held = await holds.applyingToEach(em, organizationIds);
  return new Map(
    rows.map(({ id, attempts, charged, open }) => [
      id,
      {
        attemptsToday: attempts,
        chargedThisMonth: minorUnits(Number(charged)),
        hasOpenRecharge: open,
        holds: held.get(id) ?? [],
      },
    ]),
  );
}
