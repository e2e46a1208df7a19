/**
 * What the metrics say equals the ledger, Stripe and the database: to the cent and to the event, over two APIs and two
 * workers, during a load with faults. A minute by itself, or for as long as is said:
 *
 *   LOAD_MINUTES=10 npm run jest -- --selectProjects=endurance --testPathPatterns metrics-equal-books
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import axios from 'axios';
import { freePort } from '../../sandbox/ports.ts';
import { CONFIRM, READ_BUDGET, RESET, UNAVAILABLE, WRITE_BUDGET } from '../support/faults.ts';
import { Processes } from '../support/processes.ts';
import { parsePage, type Sample, totalOf } from '../support/prometheus.ts';
import { type AlertWish, World } from '../support/world.ts';

const LOAD_MS = Number(process.env['LOAD_MINUTES'] ?? 1) * 60_000;
/** What was held up by a fault ends within a minute or two. */
const SETTLE_MS = 240_000;
/** Of so many customers at a time. */
const SIDE_BY_SIDE = 4;

let world: World;
let apis: { url: string; metrics: number }[];
let workers: number[];
const processes = new Processes();

beforeAll(async () => {
  world = await World.create();
  workers = [await freePort(), await freePort()];
  apis = [];
  for (let n = 0; n < 2; n++) {
    const metrics = await freePort();
    await processes.start('serve', world, { METRICS_PORT: String(metrics) });
    apis.push({ url: world.apiUrl, metrics });
  }
  await Promise.all(workers.map((port) => processes.start('worker', world, { METRICS_PORT: String(port) })));
});
afterAll(async () => {
  await processes.killAll();
  await world?.close();
});

async function pagesOf(ports: readonly number[]): Promise<Sample[]> {
  const pages = await Promise.all(ports.map((port) => axios.get<string>(`http://127.0.0.1:${port}/metrics`)));
  return pages.flatMap(({ data }) => parsePage(data));
}

/** Which faults strike next, one after the other. */
const FAULTS = [
  () => world.stripeFault({ ...CONFIRM, when: 'after', times: 2, action: RESET }),
  () => world.stripeFault({ path: '/v1/payment_intents/**', times: 5, action: UNAVAILABLE }),
  () => world.kmsFault({ ...WRITE_BUDGET, when: 'after', times: 2, action: { kind: 'cut_body' } }),
  () => world.kmsFault({ ...READ_BUDGET, times: 5, action: UNAVAILABLE }),
  () => world.kmsFault({ ...WRITE_BUDGET, times: 3, action: { kind: 'delay', ms: 700 } }),
];

test(
  'metrics, ledger, database and Stripe say the same, to the cent and to the event',
  async () => {
    // LiteLLM is seen to take a raise, so charges need not go one at a time.
    const organizations = [(await world.recharged()).organization];
    const answered: Record<string, number> = { accepted: 1 };
    const until = Date.now() + LOAD_MS;
    const alert = async (teamId: string, wish: AlertWish = {}) => {
      const { status, data } = await world.alert(teamId, wish);
      const answer = status === 200 ? data.status : String(status);
      answered[answer] = (answered[answer] ?? 0) + 1;
    };

    // Customers run out, one after the other, and LiteLLM says so several times.
    const running = Array.from({ length: SIDE_BY_SIDE }, async (_, index) => {
      for (let n = index; Date.now() < until; n++) {
        const card = n % 6 === 5 ? 'pm_card_chargeCustomerFail' : 'pm_card_visa';
        // A fault may strike here too: then it is the next customer.
        const organization = await world.organization({ card }).catch(() => undefined);
        if (!organization) continue;
        organizations.push(organization);
        for (let copy = 0; copy < 3; copy++) {
          world.apiUrl = (apis[(n + copy) % 2] as (typeof apis)[number]).url;
          await alert(organization.teamId);
        }
        await alert(organization.teamId, { headers: {} });
      }
    });
    const striking = (async () => {
      for (let n = 0; Date.now() < until; n++) {
        await FAULTS[n % FAULTS.length]?.();
        await new Promise((resolve) => setTimeout(resolve, 2_000));
      }
    })();
    await Promise.all([...running, striking]);
    await world.clearFaults();
    const isOver = async () => (await world.sql.query('select from webhook_event where not processed')).rowCount === 0;
    await world.eventually(isOver, 'every event has ended', SETTLE_MS);

    // Figures are kept for some seconds.
    const { rows: transferred } = await world.sql.query<{ sum: number }>('select sum(amount_minor)::float as sum from ledger_transfer');
    await world.eventually(async () => {
      const pages = await Promise.all(apis.map(({ metrics }) => pagesOf([metrics])));
      return pages.every((page) => totalOf(page, 'bill_ledger_transferred_minor_units_total', {}) === transferred[0]?.sum);
    }, 'each API shows every transfer');
    const [ofApis, ofWorkers] = [await pagesOf(apis.map(({ metrics }) => metrics)), await pagesOf(workers)];

    // Each answer of a webhook.
    const ingested = (outcome: string) => totalOf(ofApis, 'bill_ingest_events_total', { source: 'litellm', outcome });
    expect({ accepted: ingested('accepted'), duplicate: ingested('duplicate'), unauthenticated: ingested('unauthenticated') }).toEqual({
      accepted: answered['accepted'],
      duplicate: answered['duplicate'] ?? 0,
      unauthenticated: answered['401'],
    });
    expect(totalOf(ofApis, 'bill_ingest_duration_seconds_count', {})).toBe(Object.values(answered).reduce((sum, count) => sum + count, 0));
    expect(totalOf(ofApis, 'bill_dispatch_lag_seconds_count', { inbox: 'alerts' })).toBe(answered['accepted']);

    // Each event that a run has closed.
    const { rows: ended } = await world.sql.query<{ outcome: string; source: string; count: number }>(
      `select outcome, source, count(*)::int as count from webhook_event where duplicate_of is null group by outcome, source`,
    );
    console.log({ answered, ended });
    const counted = ofWorkers.filter(({ name, value }) => name === 'bill_recharges_total' && value > 0);
    const keyOf = (source = '', outcome = '') => `${source} ${outcome}`;
    expect(sums(counted.map(({ labels, value }) => [keyOf(labels['source'], labels['reason'] || labels['outcome']), value]))).toEqual(
      sums(ended.map(({ source, outcome, count }) => [keyOf(source, outcome), count])),
    );
    expect(ended.length).toBeGreaterThan(1);
    const succeeded = ended.find(({ outcome }) => outcome === 'succeeded')?.count ?? 0;
    expect(succeeded).toBeGreaterThan(SIDE_BY_SIDE);
    expect(totalOf(ofWorkers, 'bill_alert_to_quota_seconds_count', {})).toBe(succeeded);

    // Each cent, as every API shows it by itself.
    const { rows: ledger } = await world.sql.query<{ kind: string; currency: string; amount: number }>(
      'select kind, currency, sum(amount_minor)::float as amount from ledger_transfer group by kind, currency',
    );
    for (const { metrics } of apis) {
      const page = await pagesOf([metrics]);
      const shown = page.filter(({ name, value }) => name === 'bill_ledger_transferred_minor_units_total' && value > 0);
      expect(sums(shown.map(({ labels, value }) => [keyOf(labels['kind'], labels['currency']), value]))).toEqual(
        sums(ledger.map(({ kind, currency, amount }) => [keyOf(kind, currency), amount])),
      );
      expect(totalOf(page, 'bill_ledger_unaccounted_minor_units', {})).toBe(0);
      expect(totalOf(page, 'bill_ledger_balance_minor_units', { account: 'prepaid' })).toBe(0);
      expect(totalOf(page, 'bill_events_open', {})).toBe(0);
    }
    const books = await Promise.all(organizations.map((organization) => world.books(organization)));
    const charge = ledger.find(({ kind }) => kind === 'charge')?.amount;
    expect(books.reduce((sum, { captured }) => sum + captured, 0)).toBe(charge);
    expect(totalOf(ofWorkers, 'bill_charges_total', { outcome: 'captured' })).toBe(books.reduce((sum, { charges }) => sum + charges, 0));
  },
  LOAD_MS + SETTLE_MS + 120_000,
);

/** Added up by key, in the order of keys. */
function sums(pairs: readonly (readonly [string, number])[]): Record<string, number> {
  const all: Record<string, number> = {};
  for (const [key, value] of pairs.toSorted()) all[key] = (all[key] ?? 0) + value;
  return all;
}
