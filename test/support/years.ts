/**
 * A database as it is after years: many rows of every table, spread over time, of which some are not settled.
 * Nothing in it adds up. It is for what a statement costs, not for what it returns.
 */
import type pg from 'pg';

/** Organizations, and rows of each table that only grows. */
export const ORGANIZATIONS = 5_000;
export const ROWS = 30_000;

const AGE = `(n * interval '35 minutes')`;

const FILL = [
  `insert into organization_balance_config (c_organization_id, name, stripe_customer_id, litellm_team_id, currency, minimum_balance,
     target_balance, quota_per_unit, auto_recharge_enabled, max_daily_recharges, time_zone, created_at)
   select 'old-' || n, 'Old ' || n, 'cus_' || n, 'old-team-' || n, 'usd', 2, 20, 1, true, 10, 'UTC', now() - ${AGE}
   from generate_series(1, ${ORGANIZATIONS}) n`,
  `insert into webhook_event (id, source, event_type, team_id, organization_id, payload, delivery_id, body_sha256, crossing, duplicate_of,
     processed, success, outcome, received_at, dispatched_at, processed_at)
   select 'evt_' || lpad((${ROWS} - n)::text, 32, '0'), (array['webhook', 'sweep', 'manual'])[1 + n % 3],
     (array['budget_crossed', 'threshold_crossed', 'projected_limit_exceeded'])[1 + n % 3], 'old-team-' || n % ${ORGANIZATIONS},
     case when n % 10 > 0 then 'old-' || n % ${ORGANIZATIONS} end, '{"spend": 1}', case when n % 2 = 0 then 'msg_' || n end, 'digest', 'crossing-' || n,
     case when n % 7 = 0 and n > 7 then 'evt_' || lpad((${ROWS} - n + 1)::text, 32, '0') end,
     n > 20, case when n > 20 then n % 3 = 0 end, case when n > 20 then (array['succeeded', 'held', 'ignored', 'unknown_team'])[1 + n % 4] end,
     now() - ${AGE}, now() - ${AGE}, case when n > 20 then now() - ${AGE} end
   from generate_series(1, ${ROWS}) n`,
  `insert into recharge (id, event_id, organization_id, litellm_team_id, source, status, stripe_customer_id, amount_minor, currency,
     quota_granted, balance_seen, payment_method_id, payment_intent_id, quota_before, quota_after, timeline, created_at, updated_at)
   select 'rch_' || lpad((${ROWS} - n)::text, 32, '0'), 'evt_' || lpad((${ROWS} - n)::text, 32, '0'), 'old-' || n % ${ORGANIZATIONS},
     'old-team-' || n % ${ORGANIZATIONS}, 'webhook',
     case when n <= 5 then 'charging' when n <= 10 then 'needs_attention' when n <= 12 then 'charged'
       else (array['succeeded', 'succeeded', 'succeeded', 'declined', 'refunded'])[1 + n % 5] end,
     'cus_' || n % ${ORGANIZATIONS}, 2000, 'usd', 20, 1, 'pm_' || n, 'pi_' || n, n, n + 20,
     jsonb_build_array(jsonb_build_object('status', 'charging', 'at', now() - ${AGE})), now() - ${AGE}, now() - ${AGE}
   from generate_series(1, ${ROWS}) n`,
  `insert into ledger_transfer (id, organization_id, recharge_id, kind, debit_account, credit_account, amount_minor, currency, quota_micros,
     created_at, sequence, previous_hash, hash)
   select 'ltr_' || n || kind, 'old-' || n % ${ORGANIZATIONS}, 'rch_' || lpad((${ROWS} - n)::text, 32, '0'), kind,
     case kind when 'charge' then 'stripe' else 'prepaid' end, case kind when 'charge' then 'prepaid' else 'granted' end,
     2000, 'usd', 20000000, now() - ${AGE}, 2 * (n / ${ORGANIZATIONS}) + case kind when 'charge' then 1 else 2 end, 'before', 'hash'
   from generate_series(1, ${ROWS}) n, unnest(array['charge', 'grant']) kind`,
  `insert into reversal (id, kind, recharge_id, organization_id, litellm_team_id, status, amount_minor, currency, quota, created_at, updated_at)
   select 're_old' || n, (array['refund', 'dispute'])[1 + n % 2], 'rch_' || lpad((${ROWS} - n)::text, 32, '0'), 'old-' || n % ${ORGANIZATIONS},
     'old-team-' || n % ${ORGANIZATIONS}, case when n <= 5 then 'open' when n <= 10 then 'needs_attention' else 'taken_back' end,
     2000, 'usd', 20, now() - ${AGE}, now() - ${AGE}
   from generate_series(1, ${ROWS}) n`,
  `insert into card_attempt (recharge_id, organization_id, fingerprint, begun_at, ended_at, outcome)
   select 'rch_' || lpad((${ROWS} - n)::text, 32, '0'), 'old-' || n % ${ORGANIZATIONS}, 'card-' || n % ${ORGANIZATIONS}, now() - ${AGE}, now() - ${AGE},
     (array['succeeded', 'succeeded', 'soft'])[1 + n % 3]
   from generate_series(1, ${ROWS}) n`,
  `insert into hold (id, scope, subject, reason, detail, opened_by, organization_id, since, until, released_at, released_by)
   select 'hld_' || lpad((${ROWS} - n)::text, 32, '0'),
     case when n % 3000 = 0 then 'service' when n % 3 = 0 then 'card' else 'organization' end,
     case when n % 3000 = 0 then 'stripe' when n % 3 = 0 then 'card-' || n else 'old-' || n % ${ORGANIZATIONS} end,
     case when n % 3000 = 0 then 'key_refused' when n % 3 = 0 then 'declined' else (array['operator', 'budget_lowered', 'fraud_warning'])[1 + n % 3] end,
     'seen', case when n % 500 = 0 then 'probe' else 'somebody' end, 'old-' || n % ${ORGANIZATIONS}, now() - ${AGE},
     case when n between 11 and 20 then now() + interval '1 day' end,
     case when n > 20 then now() - ${AGE} end, case when n > 20 then (array['probe', 'time'])[1 + n % 2] end
   from generate_series(1, ${ROWS}) n`,
  `insert into outbound_endpoint (id, url) select 'oep_old' || n, 'http://127.0.0.1:9/' || n from generate_series(1, 3) n`,
  `insert into outbound_event (id, type, organization_id, key, data, created_at, routed_at)
   select 'obe_' || lpad((${ROWS} - n)::text, 32, '0'), (array['recharge.succeeded', 'drift.detected', 'limit.reached'])[1 + n % 3],
     'old-' || n % ${ORGANIZATIONS}, 'key-' || n, '{}', now() - ${AGE}, case when n > 20 then now() - ${AGE} end
   from generate_series(1, ${ROWS}) n`,
  `insert into outbound_delivery (id, event_id, endpoint_id, retry_until, due_at, attempts, delivered_at)
   select 'obd_' || n, 'obe_' || lpad((${ROWS} - n)::text, 32, '0'), 'oep_old' || 1 + n % 3, now() - ${AGE}, now() - ${AGE}, 1,
     case when n > 40 then now() - ${AGE} end
   from generate_series(21, ${ROWS}) n`,
  `insert into stripe_event (id, type, object_id, payment_intent_id, received_at, handled_at)
   select 'evt_stripe' || n, 'payment_intent.succeeded', 'pi_' || n, 'pi_' || n, now() - ${AGE}, case when n > 20 then now() - ${AGE} end
   from generate_series(1, ${ROWS}) n`,
  `insert into balance_sample (organization_id, at, quota, spend)
   select 'old-' || n % ${ORGANIZATIONS}, now() - n * interval '30 seconds', 20, n from generate_series(1, ${ROWS}) n`,
  `insert into sync_run (id, workflow, dry_run, status, counts, started_at, finished_at)
   select 'syn_' || lpad((${ROWS} - n)::text, 32, '0'), 'team-sync/' || n, false, case when n = 1 then 'running' else 'succeeded' end, '{}',
     now() - ${AGE}, case when n > 1 then now() end
   from generate_series(1, ${ROWS}) n`,
  `insert into sync_item (run_id, kind, subject, organization_id, outcome)
   select 'syn_' || lpad((${ROWS} - n)::text, 32, '0'), 'budget_edited', 'old-' || n, 'old-' || n % ${ORGANIZATIONS}, 'noted' from generate_series(1, ${ROWS}) n`,
  `insert into litellm_team (team_id, spend, blocked, has_budget_limits, members_count, keys_count, seen_at, gone_at)
   select 'old-team-' || n, 1, false, false, 1, 1, now(), case when n > ${ORGANIZATIONS} then now() - ${AGE} end
   from generate_series(1, ${ROWS}) n`,
  `insert into team (c_organization_id, c_team_id, l_user_id, name) select 'old-' || n, 'team', 'user-' || n, 'Team' from generate_series(1, ${ORGANIZATIONS}) n`,
  `insert into team_key (id, c_organization_id, c_team_id, token, alias) select 'key_old' || n, 'old-' || n % ${ORGANIZATIONS}, 'team', 'token-' || n, 'alias-' || n
   from generate_series(1, ${ROWS}) n`,
  `insert into refusal (organization_id, reason) select 'old-' || n, 'no_card' from generate_series(1, 500) n`,
];

/** Fills the database beside what is in it. Neither triggers nor references are checked, so it takes seconds. */
export async function fillWithYears(sql: pg.Pool): Promise<void> {
  const client = await sql.connect();
  try {
    await client.query(`set session_replication_role = 'replica'`);
    for (const statement of FILL) await client.query(statement);
    await client.query('vacuum analyze');
  } finally {
    client.release(true);
  }
}
