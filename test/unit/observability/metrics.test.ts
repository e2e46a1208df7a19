import { expect, test } from '@jest/globals';
import { createLogger } from '../../../src/observability/log.ts';
import { Metrics } from '../../../src/observability/metrics.ts';
import { parsePage, totalOf } from '../../support/prometheus.ts';

function metricsWithLog(kind: 'serve' | 'worker') {
  const lines: Record<string, unknown>[] = [];
  const log = createLogger('info', { write: (line: string) => void lines.push(JSON.parse(line)) });
  return { metrics: new Metrics(kind, log), lines };
}

test('a process has its own metrics and those of both, and counts no other', async () => {
  const { metrics } = metricsWithLog('serve');
  metrics.count('bill_recharges_total', { outcome: 'succeeded', reason: '', source: 'webhook' });
  const page = await metrics.page();
  expect(page).toContain('# TYPE bill_ingest_events_total counter');
  expect(page).toContain('# TYPE bill_database_up gauge');
  expect(page).not.toContain('bill_recharges_total');
});

test('what cannot be read is left out, and the rest is shown', async () => {
  const { metrics, lines } = metricsWithLog('serve');
  metrics.beforePage('the broken ones', () => Promise.reject(new Error('no connection')));
  metrics.beforePage('the others', () => metrics.set('bill_events_open', {}, 3));
  expect(totalOf(parsePage(await metrics.page()), 'bill_events_open', {})).toBe(3);
  expect(lines).toEqual([expect.objectContaining({ metrics: 'the broken ones', reason: 'no connection' })]);
});

test('a value that is no number stops nobody', async () => {
  const { metrics, lines } = metricsWithLog('worker');
  metrics.observe('bill_alert_to_quota_seconds', { source: 'webhook' }, Number('x'));
  expect(totalOf(parsePage(await metrics.page()), 'bill_alert_to_quota_seconds_count', {})).toBe(0);
  expect(lines).toEqual([expect.objectContaining({ metrics: 'bill_alert_to_quota_seconds' })]);
});

test('what is forgotten is not shown, not as 0 either', async () => {
  const { metrics } = metricsWithLog('serve');
  metrics.set('bill_events_open', {}, 3);
  metrics.set('bill_backlog', { queue: 'alerts' }, 3);
  metrics.forget(['bill_events_open', 'bill_backlog']);
  expect(parsePage(await metrics.page()).filter(({ name }) => ['bill_events_open', 'bill_backlog'].includes(name))).toEqual([]);
});

test('a total of somebody else is shown as it is, however often it is read', async () => {
  const { metrics } = metricsWithLog('serve');
  const labels = { kind: 'charge', currency: 'usd' };
  for (const total of [2050, 4100, 4100]) metrics.showTotal('bill_ledger_transferred_minor_units_total', labels, total);
  expect(totalOf(parsePage(await metrics.page()), 'bill_ledger_transferred_minor_units_total', labels)).toBe(4100);
});

test('two scrapes at once get the same page: neither sees what the other is still reading', async () => {
  const { metrics } = metricsWithLog('worker');
  const answers: (() => void)[] = [];
  const ask = () => new Promise<void>((resolve) => answers.push(resolve));
  metrics.beforePage('the database', async () => {
    metrics.set('bill_database_up', {}, 0);
    await ask();
    metrics.set('bill_database_up', {}, 1);
  });
  const slow = ask();
  metrics.beforePage('a slower one', () => slow);
  const first = metrics.page();
  answers[1]?.(); // The database answers the first scrape.
  await new Promise((resolve) => setImmediate(resolve));
  const second = metrics.page();
  answers[0]?.(); // The slower one answers.
  await new Promise((resolve) => setImmediate(resolve));
  answers[2]?.(); // The database, where the second scrape asks it again.
  expect(totalOf(parsePage(await first), 'bill_database_up', {})).toBe(1);
  expect(await second).toBe(await first);
});

test('a scrape after another reads anew', async () => {
  const { metrics } = metricsWithLog('serve');
  let count = 0;
  metrics.beforePage('a count', () => metrics.set('bill_events_open', {}, ++count));
  for (const expected of [1, 2]) expect(totalOf(parsePage(await metrics.page()), 'bill_events_open', {})).toBe(expected);
});
