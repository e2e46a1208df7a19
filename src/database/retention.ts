/**
 * Removes what is older than domain/retention says, a page at a time: each page is one statement and so one short
 * transaction, by an index on the age. Rows that somebody has locked are left to the next page.
 */

import { OPEN_STATUSES } from '../domain/recharge-status.ts';
import { type ExpiringTable, RETENTION } from '../domain/retention.ts';
import type { EntityManager } from './database.ts';
import { sqlList } from './sql.ts';

/** SQL text, constants of the program; the table is `t` in it. */
type Expiring = Readonly<{
  key: string;
  /** When the row's time begins: the column of an index. */
  since: string;
  /** The rows that may go once they are old enough. */
  settled: string;
  /** Of these, the ones that stay and are emptied instead. */
  stays?: string;
  emptied?: string;
  /** Rows of one page. */
  page: number;
}>;

const PAGE = 1_000;
/** A run of the synchronisation has up to 50,000 items, which go with it. */
const SYNC_RUNS_A_PAGE = 2;

const EXPIRING: Readonly<Record<ExpiringTable, Expiring>> = {
  // A delivery id is a key for ever, with the digest of its body. An event stays for its recharge and for a copy
  // that stays; for other copies it waits until they have gone.
  webhook_event: {
    key: 'id',
    since: 'processed_at',
    settled: `t.processed and t.payload <> '{}'
      and not exists (select from recharge r where r.event_id = t.id and r.status in (${sqlList(OPEN_STATUSES)}))
      and (t.delivery_id is not null or not exists (
        select from webhook_event c where c.duplicate_of = t.id and c.delivery_id is null))`,
    stays: `(t.delivery_id is not null or exists (select from recharge r where r.event_id = t.id)
      or exists (select from webhook_event c where c.duplicate_of = t.id))`,
    emptied: `payload = '{}'`,
    page: PAGE,
  },
  // The two types are found again and again: their key keeps them from being told again.
  outbound_event: {
    key: 'id',
    since: 'created_at',
    settled: `t.type not in ('drift.detected', 'recharge.overdue') and t.routed_at is not null and not exists (
      select from outbound_delivery d where d.event_id = t.id and d.delivered_at is null and d.given_up_at is null)`,
    page: PAGE,
  },
  stripe_event: { key: 'id', since: 'received_at', settled: 't.handled_at is not null', page: PAGE },
  balance_sample: { key: 'id', since: 'at', settled: 'true', page: PAGE },
  sync_run: { key: 'id', since: 'started_at', settled: `t.status <> 'running'`, page: SYNC_RUNS_A_PAGE },
  // A block of ours is remembered: only what we have blocked is unblocked by us.
  litellm_team: { key: 'team_id', since: 'gone_at', settled: 'not t.blocked_by_us', page: PAGE },
};

/** `emptied`: rows that stay, without what was in them. */
export type Removed = { deleted: number; emptied: number };

/**
 * Removes one page of the table's rows that are past their time.
 *
 * @returns what was removed, and whether there may be more.
 */
export async function removePage(em: EntityManager, table: ExpiringTable): Promise<Removed & { hasMore: boolean }> {
  const { key, since, settled, stays = 'false', emptied, page } = EXPIRING[table];
  const [row] = await em.execute<Removed[]>(
    `with expired as materialized (
       select t.${key}, ${stays} as stays from ${table} t
       where t.${since} < now() - ? * interval '1 day' and ${settled}
       order by t.${since} limit ? for update skip locked),
     deleted as (
       delete from ${table} t using expired where t.${key} = expired.${key} and not expired.stays returning 1)${
         emptied
           ? `,
     emptied as (
       update ${table} t set ${emptied} from expired where t.${key} = expired.${key} and expired.stays returning 1)`
           : ''
       }
     select (select count(*)::integer from deleted) as deleted, ${emptied ? '(select count(*)::integer from emptied)' : '0'} as emptied`,
    [RETENTION[table].days, page],
  );
  const removed = row ?? { deleted: 0, emptied: 0 };
  return { ...removed, hasMore: removed.deleted + removed.emptied === page };
}
