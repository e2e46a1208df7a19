/**
 * Reads the books and the tables as numbers, for the metrics. A bounded number of statements, each by an index; one
 * transaction, so that they agree with each other.
 */
import { IsolationLevel } from '@mikro-orm/core';
import type { Figures, OpenFigures, Transferred, Waiting } from '../domain/figures.ts';
import type { TransferKind } from '../domain/ledger.ts';
import { type Currency, minorUnits } from '../domain/money.ts';
import { OPEN_STATUSES, type RechargeStatus } from '../domain/recharge-status.ts';
import { HELD } from './books.ts';
import type { Database, EntityManager } from './database.ts';
import { NOT_CONFIGURED } from './outbound-endpoints.ts';
import { sqlList } from './sql.ts';
import { lags, UNSETTLED_OUTCOMES } from './status.ts';

/** Transfers that one statement adds up: a tenth of a second. A ledger of more takes several when it is first read. */
const TRANSFERS_A_PAGE = 200_000;
/**
 * Transfers are entered with an id of that moment, and are there once their transaction is committed. What is older
 * than this is all there: it is longer than any transaction, and than clocks differ.
 */
const SETTLED_AFTER = '10 minutes';
/** SQL for the greatest id of that moment: `ltr_`, then a UUID v7, which begins with its milliseconds; see ids.ts. */
const LAST_SETTLED = `'ltr_' || lpad(to_hex((extract(epoch from now() - interval '${SETTLED_AFTER}') * 1000)::bigint), 12, '0') || repeat('f', 20)`;

/**
 * The figures of one database, read again and again. The ledger is append-only, so what is old is added up once and
 * kept; each reading adds up the rest. A process is started anew after a restore (docs/operating.md).
 */
export class FiguresReader {
  private readonly database: Database;
  /** The sums of every transfer up to an id. Replaced as one: a slow reading is overtaken by the next. */
  private settled: { upTo: string; sums: ReadonlyMap<string, Transferred> } = { upTo: '', sums: new Map() };

  constructor(database: Database) {
    this.database = database;
  }

  /** @throws when the database cannot be read, or takes longer than its statements may. */
  async read(): Promise<Figures> {
    // Before the moment of the transaction, and only what does not change any more.
    await this.addSettled(this.database.fork());
    return this.database.fork().transactional((tx) => this.readAtOneMoment(tx), {
      isolationLevel: IsolationLevel.REPEATABLE_READ,
      readOnly: true,
    });
  }

  private async readAtOneMoment(tx: EntityManager): Promise<Figures> {
    const { upTo, sums } = this.settled;
    const fresh = await sumsOf(tx, { after: upTo });
    const { open, undecided } = await eventsOf(tx);
    return {
      transferred: [...added(sums, fresh).values()],
      open: await openOf(tx),
      parkedReversals: await countOf(tx, `select count(*) as count from reversal where status = 'needs_attention'`),
      holds: await holdsOf(tx),
      backlog: await backlogOf(tx),
      events: { open, undecided },
      outbound: await outboundOf(tx),
      organizations: await organizationsOf(tx),
      drift: await driftOf(tx),
    };
  }

  /** Page by page; where one fails, the next reading goes on from there. */
  private async addSettled(em: EntityManager): Promise<void> {
    for (;;) {
      const { upTo, sums } = this.settled;
      const [last] = await em.execute<{ id: string; rest: boolean }[]>(
        `select max(id) as id, count(*) = ? as rest from (select id from ledger_transfer where id > ? and id <= ${LAST_SETTLED} order by id limit ?) page`,
        [TRANSFERS_A_PAGE, upTo, TRANSFERS_A_PAGE],
      );
      if (!last?.id) return;
      const page = await sumsOf(em, { after: upTo, to: last.id });
      this.settled = { upTo: last.id, sums: added(sums, page) };
      if (!last.rest) return;
    }
  }
}

/** What the transfers behind one id add up to, up to another. */
async function sumsOf(em: EntityManager, { after, to }: { after: string; to?: string }): Promise<Transferred[]> {
  const rows = await em.execute<{ kind: TransferKind; currency: Currency; amount: string }[]>(
    `select kind, currency, sum(amount_minor) as amount from ledger_transfer
     where id > ? ${to === undefined ? '' : 'and id <= ?'} group by kind, currency`,
    to === undefined ? [after] : [after, to],
  );
  return rows.map(({ kind, currency, amount }) => ({ kind, currency, amount: minorUnits(Number(amount)) }));
}

function added(sums: ReadonlyMap<string, Transferred>, more: readonly Transferred[]): Map<string, Transferred> {
  const all = new Map(sums);
  for (const transferred of more) {
    const key = `${transferred.kind} ${transferred.currency}`;
    all.set(key, { ...transferred, amount: minorUnits((all.get(key)?.amount ?? 0) + transferred.amount) });
  }
  return all;
}

/** By the partial index of open recharges, and for each its transfers. */
async function openOf(em: EntityManager): Promise<OpenFigures[]> {
  const rows = await em.execute<{ status: RechargeStatus; currency: Currency; count: number; oldest: number; held: string }[]>(
    `select r.status, r.currency, count(*)::int as count, sum(h.held) as held,
       (extract(epoch from now() - min((r.timeline->-1->>'at')::timestamptz)) * 1000)::float as oldest
     from recharge r, lateral (select coalesce(${HELD}, 0) as held from ledger_transfer t where t.recharge_id = r.id) h
     where r.status in (${sqlList(OPEN_STATUSES)}) group by r.status, r.currency`,
  );
  return rows.map(({ oldest, held, ...row }) => ({ ...row, oldestMs: Math.max(0, oldest), held: minorUnits(Number(held)) }));
}

async function holdsOf(em: EntityManager): Promise<Figures['holds']> {
  return em.execute<{ scope: string; reason: string; count: number }[]>(
    `select scope, reason, count(*)::int as count from hold
     where released_at is null and (until is null or until > now()) group by scope, reason`,
  );
}

async function backlogOf(em: EntityManager): Promise<Figures['backlog']> {
  const [alerts, stripe, outbound] = await lags(em);
  const waiting = (lag: typeof alerts): Waiting => ({ count: lag?.waiting ?? 0, oldestMs: lag?.oldestMs ?? null });
  return { alerts: waiting(alerts), stripe_events: waiting(stripe), outbound_events: waiting(outbound) };
}

/** By the partial index of open events. */
async function eventsOf(em: EntityManager): Promise<Figures['events']> {
  const [row] = await em.execute<{ open: number; undecided: number; oldest: number | null }[]>(
    `select count(*)::int as open, count(*) filter (where r.id is null)::int as undecided,
       (extract(epoch from now() - min(e.received_at) filter (where r.id is null)) * 1000)::float as oldest
     from webhook_event e left join recharge r on r.event_id = e.id where not e.processed`,
  );
  return { open: row?.open ?? 0, undecided: { count: row?.undecided ?? 0, oldestMs: row?.oldest ?? null } };
}

/** Of the endpoints that somebody wants: not of one that the environment has named before. */
async function outboundOf(em: EntityManager): Promise<Figures['outbound']> {
  const failing = await countOf(
    em,
    `select count(*) as count from outbound_delivery where delivered_at is null and given_up_at is null and attempts > 0`,
  );
  const [row] = await em.execute<{ ok: number; failing: number; disabled: number; since: number | null }[]>(
    `select count(*) filter (where disabled_at is null and failing_since is null)::int as ok,
       count(*) filter (where disabled_at is null and failing_since is not null)::int as failing,
       count(*) filter (where disabled_at is not null)::int as disabled,
       (extract(epoch from now() - min(failing_since) filter (where disabled_at is null)) * 1000)::float as since
     from outbound_endpoint where disabled_reason is distinct from ?`,
    [NOT_CONFIGURED],
  );
  return {
    failing,
    endpoints: { ok: row?.ok ?? 0, failing: row?.failing ?? 0, disabled: row?.disabled ?? 0 },
    failingForMs: row?.since ?? null,
  };
}

async function organizationsOf(em: EntityManager): Promise<Figures['organizations']> {
  const all = await countOf(em, 'select count(*) as count from organization_balance_config');
  const off = await countOf(em, 'select count(*) as count from organization_balance_config where not auto_recharge_enabled');
  return { on: all - off, off };
}

/** Of the last synchronisation of every organization. */
async function driftOf(em: EntityManager): Promise<Figures['drift']> {
  return em.execute<{ kind: string; count: number }[]>(
    `select kind, count(*)::int as count from sync_item
     where run_id = (select id from sync_run where status = 'succeeded' and not dry_run and organization_ids is null order by id desc limit 1)
       and outcome in (${sqlList(UNSETTLED_OUTCOMES)}) group by kind`,
  );
}

async function countOf(em: EntityManager, statement: string): Promise<number> {
  const [row] = await em.execute<{ count: string }[]>(statement);
  return Number(row?.count ?? 0);
}
