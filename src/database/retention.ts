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
  keyType: 'text' | 'bigint';
  /** When the row's time begins: the column of an index. */
  since: string;
  /** The condition of that index, where it is partial. */
  indexed?: string;
  /** The rows that may go. */
  settled?: string;
  /** Of these, the ones that stay and are emptied instead. */
  stays?: { condition: string; emptied: string };
  /** Rows of one page. */
  page: number;
}>;

/** Each is looked up by its key: few enough that no plan reads the table instead. */
const PAGE = 200;
/** A run of the synchronisation has up to 50,000 items, which go with it. */
const SYNC_RUNS_A_PAGE = 2;

const EXPIRING: Readonly<Record<ExpiringTable, Expiring>> = {
  // A delivery id is a key for ever, with the digest of its body. An event stays for its recharge and for a copy
  // of it that an earlier version has stored and that stays; for other copies it waits until they have gone.
  webhook_event: {
    key: 'id',
    keyType: 'text',
    since: 'processed_at',
    indexed: `t.processed and t.payload <> '{}'`,
    settled: `not exists (select from recharge r where r.event_id = t.id and r.status in (${sqlList(OPEN_STATUSES)}))
      and (t.delivery_id is not null or not exists (select from webhook_event c where c.duplicate_of = t.id and c.delivery_id is null))`,
    stays: {
      condition: `(t.delivery_id is not null or exists (select from recharge r where r.event_id = t.id)
        or exists (select from webhook_event c where c.duplicate_of = t.id))`,
      emptied: `payload = '{}'`,
    },
    page: PAGE,
  },
  // The two types are found again and again: their key keeps them from being told again. A disabled endpoint gets nothing
  // until a person enables it, which may be never: what it has missed waits no longer than anything else is kept.
  outbound_event: {
    key: 'id',
    keyType: 'text',
    since: 'created_at',
    indexed: `t.type not in ('drift.detected', 'recharge.overdue')`,
    settled: `t.routed_at is not null and not exists (
      select from outbound_delivery d join outbound_endpoint e on e.id = d.endpoint_id
      where d.event_id = t.id and d.delivered_at is null and d.given_up_at is null and (e.disabled_at is null or d.retry_until > now()))`,
    page: PAGE,
  },
  stripe_event: { key: 'id', keyType: 'text', since: 'received_at', settled: 't.handled_at is not null', page: PAGE },
  balance_sample: { key: 'id', keyType: 'bigint', since: 'at', page: PAGE },
  sync_run: { key: 'id', keyType: 'text', since: 'started_at', settled: `t.status <> 'running'`, page: SYNC_RUNS_A_PAGE },
  // A block of ours is remembered: only what we have blocked is unblocked by us.
  litellm_team: { key: 'team_id', keyType: 'text', since: 'gone_at', settled: 'not t.blocked_by_us', page: PAGE },
};

/** `emptied`: rows that stay, without what was in them. */
export type Removed = { deleted: number; emptied: number };

/** The last row of a page, as PostgreSQL writes it: the next one begins behind it, whatever of it has stayed. */
export type Position = Readonly<{ since: string; key: string }>;

/**
 * Removes what may go of one page of the table's rows that are past their time, the oldest first.
 *
 * @param after where the page before has ended; undefined for the first.
 * @returns what was removed, and where to go on; undefined when this was the last page.
 */
export async function removePage(
  em: EntityManager,
  table: ExpiringTable,
  after?: Position,
): Promise<Removed & { next: Position | undefined }> {
  const { key, keyType, since, indexed = 'true', settled = 'true', stays, page } = EXPIRING[table];
  const begin = keyType === 'bigint' ? '0' : '';
  // The page is read by the index alone, and judged when it is bounded: a plan may otherwise read all that the
  // subqueries are about, at once.
  const [row] = await em.execute<(Removed & { seen: number; last: Position | null })[]>(
    `with page as materialized (
       select t.${key} as key, t.${since} as since from ${table} t
       where t.${since} < now() - ? * interval '1 day' and ${indexed} and (t.${since}, t.${key}) > (?::timestamptz, ?::${keyType})
       order by t.${since}, t.${key} limit ? for update skip locked),
     judged as materialized (
       select t.${key} as key, ${stays?.condition ?? 'false'} as stays from page join ${table} t on t.${key} = page.key where ${settled}),
     deleted as (
       delete from ${table} t using judged where t.${key} = judged.key and not judged.stays returning 1),
     emptied as (${stays ? `update ${table} t set ${stays.emptied} from judged where t.${key} = judged.key and judged.stays returning 1` : 'select limit 0'})
     select (select count(*)::integer from deleted) as deleted, (select count(*)::integer from emptied) as emptied,
       (select count(*)::integer from page) as seen,
       (select jsonb_build_object('since', since::text, 'key', key::text) from page order by page.since desc, page.key desc limit 1) as last`,
    [RETENTION[table].days, after?.since ?? '-infinity', after?.key ?? begin, page],
  );
  if (!row) throw new Error(`a page of ${table} without a result`);
  const { seen, last, ...removed } = row;
  return { ...removed, next: seen === page && last ? last : undefined };
}
