/**
 * Each alert rule is fired by the fault that it is for, on the service's real processes under a real Prometheus, and
 * is silent before. Prints the table of docs/runbooks/README.md: rule, fault, seconds until it fired.
 *
 *   npm run rehearse:alerts
 *
 * Time runs FACTOR times faster for the rules (`shortened` in test/support/prometheus.ts): with 20, `for: 5m` lasts
 * 15 s, and a sweep is stale after 15 s instead of five minutes. So the schedules are triggered as often here as it
 * takes. A rule that waits for three hours then waits for nine minutes, and so does this test.
 */
import { createHmac } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import axios from 'axios';
import pg from 'pg';
import { freePort } from '../../sandbox/ports.ts';
import { ALWAYS, CREATE_INTENT, HOLD, READ_BUDGET, UNAVAILABLE, WRITE_BUDGET } from '../support/faults.ts';
import { createWorldOfItsOwn, type WorldOfItsOwn } from '../support/own-servers.ts';
import { type BillProcess, Processes, runBill } from '../support/processes.ts';
import { Prometheus } from '../support/prometheus.ts';
import type { Organization, World } from '../support/world.ts';

const FACTOR = Number(process.env['REHEARSE_FACTOR'] ?? 20);
/** A rule that waits for minutes, then waits so long. */
const minutes = (count: number) => (count * 60_000) / FACTOR;
/** For scrape, evaluation, what is kept for five seconds, and a busy machine. */
const SLACK_MS = 180_000;
const LIMIT_MS = minutes(180) + 15 * 60_000;
const STRIPE_SECRET = 'whsec_cmVoZWFyc2FsLW9mLWFsZXJ0cw==';
/** Temporal knows a worker once it has asked for work, and a schedule has succeeded once it has run. */
const WARM_UP_MS = 15_000;
/** As long as nothing is wrong. */
const SILENT_MS = 20_000;

let own: WorldOfItsOwn;
let world: World;
let prometheus: Prometheus;
let ports: { serve: number; worker: number };
let api: BillProcess;
let worker: BillProcess;
let receiver: Server;
const processes = new Processes();

type Row = { rule: string; fault: string; seconds: number };
const table: Row[] = [];
/** What did not fire, or fired before its fault. */
const missed: string[] = [];
/** When a rule was last seen to begin to fire, and which fire now. */
const began = new Map<string, number>();
let firing: ReadonlySet<string> = new Set();
let watching: NodeJS.Timeout;
let triggering: NodeJS.Timeout;

const startApi = () =>
  processes.start('serve', world, {
    METRICS_PORT: String(ports.serve),
    STRIPE_WEBHOOK_SECRETS: STRIPE_SECRET,
    OUTBOUND_ALLOW_PRIVATE: 'true',
  });
const startWorker = () => processes.start('worker', world, { METRICS_PORT: String(ports.worker) });

beforeAll(async () => {
  own = await createWorldOfItsOwn();
  world = own.world;
  ports = { serve: await freePort(), worker: await freePort() };
  const migrated = await runBill(['migrate'], world.env);
  if (migrated.code !== 0) throw new Error(migrated.err);
  [api, worker] = await Promise.all([startApi(), startWorker()]);
  await world.recharged(); // LiteLLM is seen to take a raise, so charges need not go one at a time.
  for (const id of ['balance-sweep', 'team-sync', 'reconcile']) await world.temporal.schedule.getHandle(id).trigger();
  triggering = setInterval(() => void trigger('balance-sweep'), 2_000);
  receiver = createServer((_request, response) => response.writeHead(410).end());
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  prometheus = await Prometheus.start({ 'bill-serve': [ports.serve], 'bill-worker': [ports.worker] }, FACTOR);
  await pause(WARM_UP_MS);
  watching = setInterval(() => void watch(), 500);
}, LIMIT_MS);

afterAll(async () => {
  clearInterval(watching);
  clearInterval(triggering);
  await prometheus?.stop();
  receiver?.close();
  await processes.killAll();
  await own?.close();
});

async function trigger(id: string): Promise<void> {
  // A fault may have stopped Temporal.
  await world.temporal.schedule
    .getHandle(id)
    .trigger()
    .catch(() => {});
}

async function watch(): Promise<void> {
  const now = Date.now();
  const seen = await prometheus.firing().catch(() => undefined);
  if (!seen) return;
  for (const name of seen) if (!firing.has(name)) began.set(name, now);
  firing = new Set(seen);
}

/**
 * Brings a fault about, and waits until each of its rules fires. The rehearsal goes on after one that does not.
 *
 * @param bring calls `begins` when all is prepared; without it the fault begins at once.
 */
async function fires(
  rules: Readonly<Record<string, number>>,
  fault: string,
  bring: (begins: () => void) => Promise<unknown>,
): Promise<void> {
  // One that an earlier fault has fired has to be silent again.
  const isSilent = async () => Object.keys(rules).every((rule) => !firing.has(rule));
  await world
    .eventually(isSilent, `${Object.keys(rules)} are silent before: ${fault}`, SLACK_MS)
    .catch(({ message }) => missed.push(message));
  let from = Date.now();
  const begins = () => {
    from = Date.now();
  };
  const brought = bring(begins).catch((error: Error) => missed.push(`${fault}: ${error.message}`));
  await Promise.all(
    Object.entries(rules).map(async ([rule, withinMs]) => {
      await fired(rule, withinMs, () => from).then(
        (at) => table.push({ rule, fault, seconds: Math.round((at - from) / 1000) }),
        (error: Error) => missed.push(`${error.message}, by: ${fault}`),
      );
    }),
  );
  await brought;
}

/** When a rule has begun to fire since then. */
function fired(rule: string, withinMs: number, since: () => number): Promise<number> {
  const at = async () => {
    const time = began.get(rule);
    return time !== undefined && time >= since() && time;
  };
  return world.eventually(at, `${rule} fires`, withinMs + SLACK_MS);
}

/** An organization that was recharged, whoever has asked for it: the sweep, every two seconds here, or its alert. */
async function recharged(): Promise<{ organization: Organization; rechargeId: string }> {
  const organization = await world.organization();
  await world.alert(organization.teamId);
  const { rechargeId } = await world.eventually(async () => {
    const query = `select id as "rechargeId" from recharge where organization_id = $1 and status = 'succeeded'`;
    return (await world.sql.query(query, [organization.id])).rows[0] as { rechargeId: string } | undefined;
  }, `${organization.id} is recharged`);
  return { organization, rechargeId };
}

/** Organizations that have not run out yet: the sweep leaves them alone. */
async function solvent(count: number, wish: Parameters<World['organization']>[0] = {}): Promise<Organization[]> {
  const organizations: Organization[] = [];
  for (let n = 0; n < count; n++) organizations.push(await world.organization({ spend: 0, ...wish }));
  return organizations;
}

/** They run out, and LiteLLM says so. */
async function runOut(organizations: readonly Organization[]): Promise<void> {
  await Promise.all(
    organizations.map(async ({ teamId }) => {
      await world.spend(teamId, 10.5);
      await world.alert(teamId);
    }),
  );
}

/** A session of somebody else that holds a lock on a table. */
async function withLock<T>(statement: string, work: () => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: world.env['DATABASE_URL'] });
  client.on('error', () => {}); // Another fault stops PostgreSQL.
  await client.connect();
  try {
    await client.query('begin');
    await client.query(statement);
    return await work();
  } finally {
    await client.query('rollback');
    await client.end();
  }
}

/** One of Stripe's events, as Stripe posts and signs it. */
async function postStripeEvent(id: string, type: string, object: object): Promise<void> {
  const body = JSON.stringify({ id, object: 'event', type, created: 1, livemode: false, data: { object } });
  const at = Math.floor(Date.now() / 1000);
  const signature = createHmac('sha256', STRIPE_SECRET).update(`${at}.${body}`).digest('hex');
  const headers = { 'content-type': 'application/json', 'stripe-signature': `t=${at},v1=${signature}` };
  expect((await axios.post(`${world.apiUrl}/webhooks/stripe`, body, { headers })).status).toBe(200);
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test(
  'each rule is silent while nothing is wrong, and fires by its fault',
  async () => {
    await pause(SILENT_MS);
    expect([...began.keys()]).toEqual([]);

    const schedules = Promise.all([
      fires({ BillScheduleNotRunning: minutes(5) }, 'a person pauses the schedules of synchronisation and reconciliation', async () => {
        for (const id of ['team-sync', 'reconcile']) await world.temporal.schedule.getHandle(id).pause('rehearsal');
      }),
      fires({ BillSyncStale: minutes(45) }, 'the same, 45 minutes long', async () => {}),
      fires({ BillReconcileStale: minutes(180) }, 'the same, three hours long', async () => {}),
    ]);

    await ofOrganizations();
    await ofDependencies();
    await ofProcesses();
    await schedules;
    await ofDeaths();
    expect(missed).toEqual([]);
  },
  LIMIT_MS,
);

/** Faults that concern some organizations, side by side. */
async function ofOrganizations(): Promise<void> {
  // First, while few charges have succeeded: more than half of all have to be declined.
  await fires({ BillDeclinesHigh: minutes(5) }, 'the cards of eight organizations are declined', async (begins) => {
    const declined = await solvent(8, { card: 'pm_card_chargeCustomerFail' });
    begins();
    await runOut(declined);
  });
  await Promise.all([
    fires({ BillNeedsAttention: minutes(5) }, 'Stripe refuses the parameters of a charge', async () => {
      const { teamId, customerId } = await world.organization();
      const body = { error: { type: 'invalid_request_error', message: 'no such parameter' } };
      await world.stripeFault({ ...CREATE_INTENT, contains: customerId, times: ALWAYS, action: { kind: 'respond', status: 400, body } });
      await world.alert(teamId);
    }),
    fires({ BillOrganizationHeld: minutes(5) }, 'somebody lowers a budget in LiteLLM that was paid for', async () => {
      const { organization } = await recharged();
      await world.setBudget(organization.teamId, 11);
      await world.alert(organization.teamId, { body: { max_budget: 11, spend: 11.2 } });
    }),
    fires({ BillRechargeStuck: minutes(15) }, 'LiteLLM refuses the raise of one team again and again', async () => {
      const organization = await world.organization();
      await world.refuseBudget(organization);
      await world.alert(organization.teamId);
    }),
    fires({ BillEventUndecided: minutes(15) }, 'LiteLLM cannot read one team', async () => {
      const { teamId } = await world.organization();
      await world.kmsFault({ ...READ_BUDGET, contains: teamId, times: ALWAYS, action: UNAVAILABLE });
      await world.alert(teamId);
    }),
    fires({ BillDeliveriesFail: minutes(15) }, 'nobody listens at an endpoint', async () => {
      await world.admin.post('/api/v1/outbound-endpoints', { url: `http://127.0.0.1:${await freePort()}/` });
      await recharged();
    }),
    fires({ BillEndpointDisabled: minutes(5) }, 'an endpoint answers 410', async () => {
      await world.admin.post('/api/v1/outbound-endpoints', { url: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/` });
      await recharged();
    }),
    fires({ BillWebhooksNotAuthentic: minutes(1) }, 'LiteLLM signs with another secret', async () => {
      for (let n = 0; n < 8; n++) expect((await world.alert('any', { headers: {} })).status).toBe(401);
    }),
    fires({ BillDrift: minutes(30) }, 'somebody takes the budget of a team away in LiteLLM', async () => {
      const { teamId } = await world.organization({ spend: 0 });
      await world.setBudget(teamId, null);
      await world.admin.post('/api/v1/sync', {});
    }),
    fires({ BillReconcileFindings: 0 }, 'somebody raises a budget in LiteLLM by hand, and a reconciliation runs', async () => {
      const { organization } = await recharged();
      await world.setBudget(organization.teamId, 1_000);
      await world.reconcile();
    }),
    fires({ BillLedgerNotAtRest: minutes(5) }, 'a transfer is entered by hand that no recharge stands for', async () => {
      const { organization, rechargeId } = await recharged();
      await world.sql.query(
        `insert into ledger_transfer (id, organization_id, recharge_id, kind, reference, debit_account, credit_account, amount_minor, currency, quota_micros)
         values ('ltr_' || replace(uuidv7()::text, '-', ''), $1, $2, 'recovery', 'by hand', 'stripe', 'prepaid', 100, 'usd', 1000000)`,
        [organization.id, rechargeId],
      );
    }),
    fires({ BillUnexpectedFailures: 0 }, 'an event is damaged in the database', async (begins) => {
      const [organization] = (await solvent(1)) as [Organization];
      const unread = await world.kmsFault({ ...READ_BUDGET, contains: organization.teamId, times: ALWAYS, action: UNAVAILABLE });
      await world.spend(organization.teamId, 10.5);
      const eventId = await world.accepted(organization);
      await world.sql.query(`update webhook_event set payload = 'null' where id = $1`, [eventId]);
      begins();
      await unread.remove();
    }),
    fires({ BillWorkflowTasksFail: minutes(1) }, 'a run is started of a workflow that this version does not have', async () => {
      await world.temporal.workflow.start('workflowOfAnotherVersion', { workflowId: 'of-another-version', taskQueue: world.name });
    }),
    fires(
      { BillRechargeBudgetBurnsFast: minutes(1), BillRechargeBudgetBurnsSlowly: minutes(15) },
      'LiteLLM takes raises 35 s late',
      async (begins) => {
        const organizations = await solvent(12);
        const held = await Promise.all(
          organizations.map(({ teamId }) => world.kmsFault({ ...WRITE_BUDGET, contains: teamId, times: ALWAYS, action: UNAVAILABLE })),
        );
        begins();
        await runOut(organizations);
        await pause(35_000);
        await Promise.all(held.map((fault) => fault.remove()));
      },
    ),
    fires({ BillOutboxNotRouted: minutes(6) }, 'a maintenance statement locks the table of deliveries', () =>
      withLock('lock table outbound_delivery in exclusive mode', async () => {
        await recharged();
        await world.eventually(async () => firing.has('BillOutboxNotRouted'), 'BillOutboxNotRouted fires', minutes(6) + SLACK_MS);
      }),
    ),
  ]);
}

/** Faults of Stripe and LiteLLM as a whole, and the kill switch. */
async function ofDependencies(): Promise<void> {
  await fires({ BillCallsNotMade: minutes(2) }, 'LiteLLM hangs, and balances are asked for', async (begins) => {
    const [{ id, teamId }] = (await solvent(1)) as [Organization];
    begins();
    const hanging = await world.kmsFault({ ...READ_BUDGET, contains: teamId, times: ALWAYS, action: HOLD });
    await Promise.all(Array.from({ length: 130 }, () => world.admin.get(`/api/v1/organizations/${id}/balance`)));
    await hanging.remove();
  });
  await fires({ BillStripeFails: minutes(2) + 30_000 }, 'Stripe answers 503 to everything', async (begins) => {
    const organizations = await solvent(30);
    begins();
    const outage = await world.stripeFault({ path: '/v1/**', times: ALWAYS, action: UNAVAILABLE });
    await runOut(organizations);
    await world.eventually(async () => firing.has('BillStripeFails'), 'Stripe fails', SLACK_MS);
    await outage.remove();
  });
  await fires({ BillServiceHeld: minutes(1) }, "Stripe refuses the service's key", async (begins) => {
    const organizations = await solvent(2);
    begins();
    await world.revokeStripeKey(true);
    await runOut(organizations);
    await world.eventually(async () => firing.has('BillServiceHeld'), 'the service is held', SLACK_MS);
    await world.revokeStripeKey(false);
  });
  await fires({ BillLitellmFails: minutes(2) + 30_000 }, 'LiteLLM answers 503 to everything', async (begins) => {
    const organizations = await solvent(30);
    begins();
    const outage = await world.kmsFault({ path: '/**', times: ALWAYS, action: UNAVAILABLE });
    await Promise.all(organizations.map(({ teamId }) => world.alert(teamId)));
    await world.eventually(async () => firing.has('BillLitellmFails'), 'LiteLLM fails', SLACK_MS);
    await outage.remove();
  });
}

async function ofProcesses(): Promise<void> {
  await fires({ BillDatabasePoolExhausted: 60_000 + minutes(2) }, 'a statement locks the table of teams, and pages ask for it', () =>
    withLock('lock table team in access exclusive mode', async () => {
      const { id } = await world.organization({ spend: 0 });
      let isOver = false;
      const ask = async () => {
        while (!isOver) await world.admin.get(`/api/v1/organizations/${id}/teams`).catch(() => {});
      };
      const asking = Array.from({ length: 40 }, ask);
      await world
        .eventually(async () => firing.has('BillDatabasePoolExhausted'), 'the pool is exhausted', 60_000 + minutes(2) + SLACK_MS)
        .finally(() => {
          isOver = true;
        });
      void Promise.allSettled(asking);
    }),
  );
  await Promise.all([
    fires({ BillKillSwitchOn: minutes(30) }, 'a person holds the service', () =>
      world.admin.post('/api/v1/holds', { scope: 'service', reason: 'rehearsal' }),
    ),
    fires({ BillEventLoopBlocked: minutes(5) }, 'the API gets no CPU for most of the time', async () => {
      const isOver = () => firing.has('BillEventLoopBlocked');
      for (let n = 0; n < 90 && !isOver(); n++) {
        api.process.kill('SIGSTOP');
        await pause(650);
        api.process.kill('SIGCONT');
        await pause(350);
      }
    }),
  ]);
  const { intentId } = await world.sql
    .query(`select payment_intent_id as "intentId" from recharge where status = 'succeeded' limit 1`)
    .then(({ rows }) => rows[0] as { intentId: string });
  const { teamId } = await world.organization();
  await fires(
    { BillTemporalDown: minutes(2), BillAlertsNotDispatched: minutes(2), BillStripeEventsNotHandled: minutes(6) },
    'Temporal is stopped',
    async () => {
      await own.temporal.stop();
      await world.alert(teamId);
      // Its run is asked whether it waits for this; what is said of a payment that is settled asks nobody.
      await postStripeEvent('evt_rehearsal', 'refund.updated', { id: 're_rehearsal', object: 'refund', payment_intent: intentId });
      const rules = ['BillTemporalDown', 'BillAlertsNotDispatched', 'BillStripeEventsNotHandled'];
      await world.eventually(async () => rules.every((rule) => firing.has(rule)), 'all of it fires', minutes(6) + 2 * SLACK_MS);
      await own.temporal.start();
    },
  );
  await fires(
    { BillDatabaseDown: minutes(1), BillAcknowledgeBudgetBurnsFast: minutes(1), BillAcknowledgeBudgetBurnsSlowly: minutes(15) },
    'PostgreSQL is stopped',
    async () => {
      await own.postgres.stop();
      for (let n = 0; n < 20; n++) expect((await world.alert(teamId)).status).toBe(503);
      await world.eventually(async () => firing.has('BillDatabaseDown'), 'the database is down', SLACK_MS);
      await own.postgres.start();
    },
  );
}

async function ofDeaths(): Promise<void> {
  await fires({ BillWorkersDown: minutes(1), BillSweepStale: minutes(5), BillInstanceDown: minutes(5) }, 'the only worker is killed', () =>
    worker.kill(),
  );
  await fires({ BillApiDown: minutes(1) }, 'the only API is killed', () => api.kill());
}

afterAll(() => {
  const rows = table.map(({ rule, fault, seconds }) => `| ${rule} | ${fault} | ${seconds} |`);
  if (missed.length > 0) console.log(missed.join('\n'));
  console.log([`| rule | fault | seconds, ${FACTOR} times faster |`, '|---|---|---|', ...rows.toSorted()].join('\n'));
});
