/**
 * Reconciliation and retention of an installation of years: its books are right, so reconciliation finds nothing, and
 * what is measured is the looking. The ledger's chains are linked by the database itself.
 *
 * Each organization has ten events and three recharges of the last 90 days. The second recharge of every thirtieth one
 * was refunded by us. Of every twentieth one, the first was refunded in Stripe, and the quota taken back.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type pg from 'pg';
import type { Team } from '../../sandbox/litellm/store.ts';
import type { AccountState } from '../../sandbox/stripe/account.ts';
import type { PaymentIntent, Refund } from '../../sandbox/stripe/objects.ts';
import type { ReconcileResult } from '../../workflows/contract.ts';
import { startServers } from './servers.ts';

const EVENTS_EACH = 10;
const RECHARGES_EACH = 3;
/** So many organizations are entered at a time: a statement takes some seconds. */
const AT_ONCE = 10_000;
/** Reconciliation looks at so many days of intents, and at so many of returned money. */
const INTENT_DAYS = 7;
const RETURNED_DAYS = 120;

const AMOUNT = 2000;
const QUOTA = 20;

/** Prints a row. */
export async function measureBooks(organizations: number): Promise<void> {
  let filledIn = 0;
  const servers = await startServers(async (sql, folder) => {
    const started = performance.now();
    await fill(sql, organizations);
    filledIn = (performance.now() - started) / 1000;
    return writeStates(sql, folder, organizations);
  });
  try {
    const { rows } = await servers.sql.query(
      'select count(*)::integer as events, pg_database_size(current_database())::float8 as bytes from webhook_event',
    );
    const first = await servers.run('reconcileWorkflow', { fix: true });
    const second = await servers.run('reconcileWorkflow', { fix: true });
    const retention = await servers.run('retentionWorkflow');
    const { intents, findings } = second.result as ReconcileResult;
    const most = Math.max(...[first, second, retention].map(({ mostMemory }) => mostMemory));
    console.log(
      `\n| organizations | events | recharges | intents compared | first reconciliation | second | retention | worker, most memory |\n|---|---|---|---|---|---|---|---|`,
    );
    const times = [first, second, retention].map(({ seconds }) => `${seconds.toFixed(1)} s`);
    const counts = [organizations, rows[0].events, organizations * RECHARGES_EACH, intents];
    console.log(`| ${[...counts, ...times, `${Math.round(most / 1024)} MiB`].join(' | ')} |`);
    console.log(
      `\nfilled in ${filledIn.toFixed(0)} s, ${Math.round(rows[0].bytes / 2 ** 20)} MiB; retention: ${JSON.stringify(retention.result)}`,
    );
    if (findings.length > 0) throw new Error(`the books are right, and something is found: ${JSON.stringify(findings.slice(0, 5))}`);
  } finally {
    await servers.stop();
  }
}

/** Of organization `n` of `size`, its recharge `k`: in the k-th third of 90 days. */
const AT = `now() - interval '90 days' * (1 - (k + n::float8 / $3) / ${RECHARGES_EACH})`;
const IS_REFUNDED = '(n % 30 = 0 and k = 1)';
const IS_REVERSED = '(n % 20 = 0 and k = 0)';
/** How often the budget was raised before. */
const RAISES = `(k - case when n % 30 = 0 and k = 2 then 1 else 0 end)`;
const RECHARGE = `'rch_' || lpad(to_hex(n * 16 + k), 32, '0')`;
const EACH = `generate_series($1::int, $2::int) n, generate_series(0, ${RECHARGES_EACH - 1}) k`;

const FILL = [
  `insert into organization_balance_config (c_organization_id, name, stripe_customer_id, litellm_team_id, currency, minimum_balance,
     target_balance, quota_per_unit, auto_recharge_enabled, max_daily_recharges, time_zone, litellm_seen_at)
   select 'org-' || n, 'Organization ' || n, 'cus_' || n, 'team-' || n, 'usd', 2, 20, 1, true, 10, 'UTC', now()
   from generate_series($1::int, $2::int) n where $3::int > 0`,
  // The others end without a recharge; half of them have no delivery id, and go in time.
  `insert into webhook_event (id, source, event_type, team_id, organization_id, payload, delivery_id, body_sha256, crossing, processed, success,
     outcome, received_at, dispatched_at, processed_at)
   select 'evt_' || lpad(to_hex(n * 16 + k), 32, '0'), 'webhook', 'budget_crossed', 'team-' || n, 'org-' || n,
     jsonb_build_object('event', 'budget_crossed', 'team_id', 'team-' || n, 'spend', k, 'user_email', 'somebody@example.com'),
     case when k % 2 = 0 then 'msg_' || n || '_' || k end, md5(n::text), 'crossing-' || n || '-' || k, true, true,
     case when k < ${RECHARGES_EACH} then 'succeeded' else 'above_minimum' end, at, at, at
   from generate_series($1::int, $2::int) n, generate_series(0, ${EVENTS_EACH - 1}) k,
     lateral (select now() - interval '180 days' * (1 - (k + n::float8 / $3) / ${EVENTS_EACH}) as at) time`,
  `insert into recharge (id, event_id, organization_id, litellm_team_id, source, status, stripe_customer_id, amount_minor, currency,
     quota_granted, balance_seen, payment_method_id, card_fingerprint, payment_intent_id, quota_before, quota_after, refund_id, timeline,
     created_at, updated_at)
   select ${RECHARGE}, 'evt_' || lpad(to_hex(n * 16 + k), 32, '0'), 'org-' || n, 'team-' || n, 'webhook',
     case when ${IS_REFUNDED} then 'refunded' else 'succeeded' end, 'cus_' || n, ${AMOUNT}, 'usd', ${QUOTA}, 1, 'pm_' || n, 'card-' || n,
     'pi_' || n || '_' || k, ${QUOTA} * (1 + ${RAISES}), ${QUOTA} * (2 + ${RAISES}), case when ${IS_REFUNDED} then 're_ours_' || n end,
     jsonb_build_array(jsonb_build_object('at', ${AT}, 'status', 'succeeded')), ${AT}, ${AT}
   from ${EACH}`,
  `insert into card_attempt (recharge_id, organization_id, fingerprint, begun_at, ended_at, outcome)
   select ${RECHARGE}, 'org-' || n, 'card-' || n, ${AT}, ${AT}, 'succeeded' from ${EACH}`,
  ...[0, 1, 2].flatMap((k) => [
    transfers(`'charge', '', 'stripe', 'prepaid'`, `k = ${k}`),
    transfers(
      `case when ${IS_REFUNDED} then 'refund' else 'grant' end, '', 'prepaid', case when ${IS_REFUNDED} then 'stripe' else 'granted' end`,
      `k = ${k}`,
    ),
  ]),
  transfers(`'reversal', 're_theirs_' || n, 'granted', 'prepaid'`, IS_REVERSED),
  transfers(`'refund', 're_theirs_' || n, 'prepaid', 'stripe'`, IS_REVERSED),
  `insert into reversal (id, kind, recharge_id, organization_id, litellm_team_id, status, amount_minor, currency, quota, taken_before, taken_after)
   select 're_theirs_' || n, 'refund', ${RECHARGE}, 'org-' || n, 'team-' || n, 'taken_back', ${AMOUNT}, 'usd', ${QUOTA},
     budget, budget - ${QUOTA}
   from ${EACH}, lateral (select ${QUOTA} * (case when n % 30 = 0 then 3 else 4 end) as budget) last where ${IS_REVERSED} and $3::int > 0`,
];

/** @param words kind, reference, debit and credit account. */
function transfers(words: string, which: string): string {
  return `insert into ledger_transfer (id, organization_id, recharge_id, kind, reference, debit_account, credit_account, amount_minor, currency,
      quota_micros, created_at)
    select 'ltr_' || replace(gen_random_uuid()::text, '-', ''), 'org-' || n, ${RECHARGE}, ${words}, ${AMOUNT}, 'usd', ${QUOTA} * 1000000,
      date_trunc('milliseconds', ${AT})
    from ${EACH} where ${which}`;
}

async function fill(sql: pg.Pool, size: number): Promise<void> {
  for (let from = 1; from <= size; from += AT_ONCE)
    for (const statement of FILL) await sql.query(statement, [from, Math.min(from + AT_ONCE - 1, size), size]);
  await sql.query('vacuum analyze');
}

/** LiteLLM shows what was written last; Stripe has what reconciliation looks at. */
async function writeStates(sql: pg.Pool, folder: string, size: number): Promise<{ litellm: string; stripe: string }> {
  const files = { litellm: join(folder, 'litellm.json'), stripe: join(folder, 'stripe.json') };
  const teams = Array.from({ length: size }, (_, index) => teamOf(index + 1));
  writeFileSync(files.litellm, JSON.stringify({ teams, keys: [], users: [] }));
  const [installation] = (await sql.query('select id from installation')).rows;
  const { rows: intents } = await sql.query(
    `select payment_intent_id as id, r.id as recharge, event_id as event, organization_id as organization, litellm_team_id as team,
       stripe_customer_id as customer, extract(epoch from created_at)::integer as created
     from recharge r where created_at > now() - $1 * interval '1 day' order by created_at, id`,
    [INTENT_DAYS + 1],
  );
  const { rows: refunds } = await sql.query(
    `select * from (
       select refund_id as id, payment_intent_id as intent, id as recharge, extract(epoch from updated_at)::integer as created from recharge
       where refund_id is not null and updated_at > now() - $1 * interval '1 day'
       union all
       select v.id, r.payment_intent_id, null, extract(epoch from v.created_at)::integer from reversal v join recharge r on r.id = v.recharge_id) refund
     order by created, id`,
    [RETURNED_DAYS],
  );
  const state: SavedState = {
    customers: [],
    payment_methods: [],
    issuer_files: [],
    payment_intents: intents.map((row) => intentOf(row, installation.id)),
    charges: [],
    refunds: refunds.map(refundOf),
    disputes: [],
    early_fraud_warnings: [],
    events: [],
    webhook_endpoints: [],
    refund_mode: 'succeeded',
    idempotency_keys: [],
    revoked_keys: [],
  };
  writeFileSync(files.stripe, JSON.stringify(state));
  return files;
}

type SavedState = AccountState & { idempotency_keys: unknown[]; revoked_keys: string[] };

function teamOf(n: number): Team {
  const at = '2026-01-01T00:00:00.000000Z';
  const raises = RECHARGES_EACH - (n % 30 === 0 ? 1 : 0) - (n % 20 === 0 ? 1 : 0);
  return {
    team_id: `team-${n}`,
    team_alias: `Organization ${n}`,
    max_budget: QUOTA * (1 + raises),
    soft_budget: null,
    budget_duration: null,
    budget_reset_at: null,
    budget_limits: null,
    metadata: {},
    models: [],
    tpm_limit: null,
    rpm_limit: null,
    organization_id: null,
    blocked: false,
    members: [],
    memberships: [],
    spend: 1,
    live_spend: 1,
    created_at: at,
    updated_at: at,
    budget_writes: [],
  };
}

type IntentRow = Record<'id' | 'recharge' | 'event' | 'organization' | 'team' | 'customer', string> & { created: number };

function intentOf({ id, recharge, event, organization, team, customer, created }: IntentRow, installation: string): PaymentIntent {
  const ids = { installation, recharge_id: recharge, event_id: event, organization_id: organization, litellm_team_id: team };
  return {
    id,
    object: 'payment_intent',
    amount: AMOUNT,
    amount_capturable: 0,
    amount_received: AMOUNT,
    automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
    canceled_at: null,
    cancellation_reason: null,
    capture_method: 'automatic',
    client_secret: `${id}_secret`,
    confirmation_method: 'automatic',
    created,
    currency: 'usd',
    customer,
    description: null,
    last_payment_error: null,
    latest_charge: id.replace('pi_', 'ch_'),
    livemode: false,
    metadata: { ...ids, quota: String(QUOTA), quota_before: '', balance: '1' },
    next_action: null,
    payment_method: 'pm_1',
    payment_method_types: ['card'],
    receipt_email: null,
    statement_descriptor_suffix: null,
    status: 'succeeded',
  };
}

type RefundRow = { id: string; intent: string; recharge: string | null; created: number };

function refundOf({ id, intent, recharge, created }: RefundRow): Refund {
  return {
    id,
    object: 'refund',
    amount: AMOUNT,
    charge: intent.replace('pi_', 'ch_'),
    created,
    currency: 'usd',
    metadata: recharge === null ? {} : { recharge_id: recharge },
    payment_intent: intent,
    reason: null,
    status: 'succeeded',
  };
}
