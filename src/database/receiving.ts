/**
 * The statement that stores what comes in: any number of events at once, each once. It finds the organization, the
 * delivery id and the open crossing itself, so that an acknowledgement costs one round trip, shared by all that waited
 * at the same moment.
 */
import { type EventOutcome, isSuccess } from '../domain/event-outcome.ts';
import type { RechargeSource } from '../domain/recharge-source.ts';
import type { Database, EntityManager } from './database.ts';
import { newId } from './ids.ts';

export type IncomingEvent = {
  source: RechargeSource;
  eventType: string;
  teamId: string | null;
  payload: Record<string, unknown>;
  bodySha256: string;
  /** The sender's permanent idempotency key, null where it has none. */
  deliveryId: string | null;
  /** Digest of the crossing; null for an event that asks for nothing. */
  crossing: string | null;
  /** Where it is traced: what is done for it goes on in that trace. */
  traceparent?: string | undefined;
};

/**
 * - `accepted`: stored, to be dispatched (or closed at once as `unknown_team`)
 * - `duplicate`: the same delivery again (its first event's id), or another copy of an open crossing (that event's id)
 * - `ignored`: stored, asks for nothing
 * - `conflict`: the delivery id was stored with another body; nothing stored
 */
export type Receipt = { eventId: string; status: 'accepted' | 'duplicate' | 'ignored' | 'conflict' };

/** Each one that is overtaken was so by another that has stored something. None is so often in a row. */
const MAX_ATTEMPTS = 10;

/** Two transactions have waited for each other, and PostgreSQL has ended this one. */
const DEADLOCK = '40P01';

/**
 * What the statement fails with, and so stores nothing, when another transaction has stored something that it has not
 * seen: PostgreSQL has no statement that only says so, and repeats the text that is no number.
 */
const OVERTAKEN = 'overtaken by another transaction: tried again';

type Row = { event_id: string; status: Receipt['status'] };

/** Stores an event, once: a delivery id is accepted once for good, a crossing while no event of it is open. */
export async function receive(em: EntityManager, incoming: IncomingEvent): Promise<Receipt> {
  const text = statementWith(() => '?');
  const [receipt] = await untilNotOvertaken(() => em.execute<Row[]>(text, valuesOf([incoming])));
  return receipt as Receipt;
}

/**
 * The same for many at once, each as if it had come after those before it. All of them are stored, or none.
 *
 * @param connections how many run at the same time.
 */
export function batchReceiver(database: Database, connections: number): (batch: readonly IncomingEvent[]) => Promise<Receipt[]> {
  const statement = database.prepare<Row>({ text: statementWith((n) => `$${n}`), connections });
  return (batch) => untilNotOvertaken(() => statement.run(valuesOf(batch)));
}

/** The next attempt sees what the faster transaction has stored. */
async function untilNotOvertaken(attempt: () => Promise<Row[]>): Promise<Receipt[]> {
  for (let attempts = 1; ; attempts++) {
    try {
      return (await attempt()).map(({ event_id: eventId, status }) => ({ eventId, status }));
    } catch (error) {
      const { code, message } = error as { code?: unknown; message?: unknown };
      const isOvertaken = code === DEADLOCK || String(message).includes(OVERTAKEN);
      if (!isOvertaken || attempts === MAX_ATTEMPTS) throw error;
    }
  }
}

/** One array for each column, as PostgreSQL writes it: a statement of one shape for any number of rows. */
function valuesOf(batch: readonly IncomingEvent[]): string[] {
  return [
    textArray(batch.map(() => newId('evt'))),
    textArray(batch.map(({ source }) => source)),
    textArray(batch.map(({ eventType }) => eventType)),
    textArray(batch.map(({ teamId }) => teamId)),
    textArray(batch.map(({ deliveryId }) => deliveryId)),
    textArray(batch.map(({ bodySha256 }) => bodySha256)),
    textArray(batch.map(({ crossing }) => crossing)),
    textArray(batch.map(({ traceparent }) => traceparent ?? null)),
    // One JSON text and no array of texts: nothing in it has to be escaped twice.
    JSON.stringify(batch.map(({ payload }) => payload)),
  ];
}

function textArray(texts: readonly (string | null)[]): string {
  return `{${texts.map((text) => (text === null ? 'NULL' : `"${text.replaceAll(/["\\]/g, '\\$&')}"`)).join(',')}}`;
}

/** SQL text of whether an event that is closed at once has ended well. */
const SUCCESS = (['ignored', 'unknown_team'] satisfies EventOutcome[])
  .map((outcome) => `when '${outcome}' then ${isSuccess(outcome)}`)
  .join(' ');

/**
 * Three constraints decide what is new: the key of `webhook_delivery`, one open event of a crossing, one event of a
 * delivery id. Where one of them keeps a row out that this statement has not seen, another transaction was faster, and
 * the statement fails as a whole.
 *
 * What is searched is a lateral subquery with a limit, or in a list, which no plan turns into a join that reads a whole
 * table: that is what a plan does which was made while the table was empty. Rows
 * are written in the order of their keys, so that two of these do not wait for each other in a circle. The counted
 * events are not locked before they are written, last of all: while they are locked no dispatcher gets them.
 *
 * @param value the placeholder of the n-th value, from 1.
 */
function statementWith(value: (n: number) => string): string {
  return `
with incoming as materialized (
  select i.*, o.id as organization_id, case when o.id is not null then i.crossing end as opens,
    case when i.crossing is null then 'ignored' when o.id is null then 'unknown_team' end as outcome,
    case jsonb_typeof(i.payload -> 'spend') when 'number' then (i.payload -> 'spend')::numeric end as spend,
    d.event_id as delivered_as, d.body_sha256 as delivered_sha256,
    first_value(i.n) over (partition by coalesce(i.delivery_id, i.id) order by i.n) as first_n,
    first_value(i.body_sha256) over (partition by coalesce(i.delivery_id, i.id) order by i.n) as first_sha256
  from rows from (unnest(${value(1)}::text[]), unnest(${value(2)}::text[]), unnest(${value(3)}::text[]), unnest(${value(4)}::text[]),
    unnest(${value(5)}::text[]), unnest(${value(6)}::text[]), unnest(${value(7)}::text[]), unnest(${value(8)}::text[]), jsonb_array_elements(${value(9)}::jsonb))
    with ordinality as i (id, source, event_type, team_id, delivery_id, body_sha256, crossing, traceparent, payload, n)
  left join lateral (
    select c_organization_id as id from organization_balance_config where litellm_team_id = i.team_id limit 1) o on true
  left join lateral (
    select event_id, body_sha256 from webhook_delivery where delivery_id = i.delivery_id
    union all select id, body_sha256 from webhook_event where delivery_id = i.delivery_id limit 1) d on true),
fresh as materialized (
  select i.*, open.id as open_id, coalesce(open.id, first_value(i.id) over (partition by coalesce(i.opens, i.id) order by i.n)) as event_id,
    count(*) over (partition by coalesce(i.opens, i.id)) - 1 as copies, max(spend) over (partition by coalesce(i.opens, i.id)) as highest_spend
  from incoming i
  left join lateral (select id from webhook_event where crossing = i.opens and not processed limit 1) open on true
  where delivered_as is null and n = first_n),
stored as (
  insert into webhook_event (id, source, event_type, team_id, organization_id, payload, delivery_id, body_sha256, crossing, traceparent, copies,
    last_copy_at, highest_spend, processed, success, outcome, processed_at)
  select id, source, event_type, team_id, organization_id, payload, delivery_id, body_sha256, crossing, traceparent, copies,
    case when copies > 0 then now() end, highest_spend, outcome is not null, case outcome ${SUCCESS} end, outcome,
    case when outcome is not null then now() end
  from fresh where event_id = id order by crossing, id
  on conflict do nothing returning 1),
remembered as (
  insert into webhook_delivery (delivery_id, event_id, body_sha256)
  select delivery_id, event_id, body_sha256 from fresh where delivery_id is not null order by delivery_id
  on conflict do nothing returning 1),
counted as (
  update webhook_event e set copies = e.copies + c.copies, last_copy_at = now(), highest_spend = greatest(e.highest_spend, c.spend)
  from (select open_id, count(*) as copies, max(spend) as spend from fresh where open_id is not null group by open_id order by open_id) c
  where e.id = c.open_id and e.id = any (array(select open_id from fresh where open_id is not null)))
select coalesce(i.delivered_as, f.event_id) as event_id,
  case
    when i.body_sha256 <> coalesce(i.delivered_sha256, i.first_sha256) then 'conflict'
    when i.delivered_as is not null or i.n <> i.first_n or f.event_id <> i.id then 'duplicate'
    when i.crossing is null then 'ignored'
    else 'accepted'
  end as status,
  case
    when (select count(*) from stored) < (select count(*) from fresh where event_id = id)
      or (select count(*) from remembered) < (select count(delivery_id) from fresh) then '${OVERTAKEN}'
    else '1'
  end::integer as is_complete
from incoming i left join fresh f on f.n = i.first_n
order by i.n`;
}
