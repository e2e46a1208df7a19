/**
 * The alert rules, their runbooks, the dashboards, and the metrics that all of them name. What promtool says of them is
 * asked where it is: `apt-get install prometheus`.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { METRICS, type MetricName } from '../../../src/observability/catalogue.ts';
import { createLogger } from '../../../src/observability/log.ts';
import { Metrics } from '../../../src/observability/metrics.ts';
import { isKnown, namesIn, RULES, type Rule } from '../../support/metric-names.ts';
import { findProgram, shortened } from '../../support/prometheus.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');

const alerts = RULES.filter((rule): rule is Rule & { alert: string } => rule.alert !== undefined);
const runbooks = readdirSync(join(ROOT, 'docs/runbooks')).filter((name) => name !== 'README.md');

describe('the rules', () => {
  test('are twenty at least, each for a page or a ticket, and say what is wrong', () => {
    expect(alerts.length).toBeGreaterThanOrEqual(20);
    for (const { alert, labels, annotations } of alerts) {
      expect(alert).toMatch(/^Bill[A-Z]\w+$/);
      expect([alert, labels?.['severity']]).toEqual([alert, expect.stringMatching(/^(page|ticket)$/)]);
      expect([alert, annotations?.['summary']]).toEqual([alert, expect.stringMatching(/^.{20,140}$/)]);
    }
  });

  test('name no metric that there is not', () => {
    expect(RULES.flatMap(({ expr }) => namesIn(expr)).filter((name) => !isKnown(name))).toEqual([]);
    expect(namesIn('sum by (kind) (rate(bill_nothing_total{a="b"}[5m])) > bill_other')).toEqual(['bill_nothing_total', 'bill_other']);
    expect(isKnown('bill_nothing_total')).toBe(false);
  });

  test('have a runbook each, and no runbook is without a rule', () => {
    expect(runbooks.toSorted()).toEqual(alerts.map(({ alert }) => `${alert}.md`).toSorted());
  });

  test('are each tested to fire and to stay silent', () => {
    const tests: { alert_rule_test: { alertname: string; exp_alerts?: unknown[] }[] }[] = parse(
      read('deploy/prometheus/rules.test.yml'),
    ).tests;
    const cases = tests.flatMap(({ alert_rule_test }) => alert_rule_test);
    for (const { alert } of alerts) {
      const own = cases.filter(({ alertname }) => alertname === alert).map(({ exp_alerts = [] }) => exp_alerts.length > 0);
      expect([alert, own.includes(true), own.includes(false)]).toEqual([alert, true, true]);
    }
  });

  test('are shortened in what they wait for, and in nothing else', () => {
    const text = '        expr: a > 15 * 60 and b[10m] > 60\n        for: 5m\n';
    expect(shortened(text, 20)).toBe('        expr: a > 45 and b[10m] > 60\n        for: 15s\n');
  });
});

describe.each(alerts)('the runbook of $alert', ({ alert, labels }) => {
  const text = read(`docs/runbooks/${alert}.md`);

  test('has one screen: meaning, impact, look, do', () => {
    expect(text.split('\n').length).toBeLessThan(45);
    expect(text.match(/^#+ .+$/gm)).toEqual([`# ${alert}`, '## Meaning', '## Impact', '## Look', '## Do']);
    expect(text).toContain(`\nSeverity: ${labels?.['severity']}.\n`);
  });

  test('names runbooks, documents and metrics that there are', () => {
    for (const [, link = ''] of text.matchAll(/\]\(([^)#]+)[^)]*\)/g)) expect(read(join('docs/runbooks', link))).toBeTruthy();
    const named = [...text.matchAll(/`([^`]+)`/g)].flatMap(([, code = '']) => namesIn(code));
    expect(named.filter((name) => !isKnown(name))).toEqual([]);
  });
});

describe('the metrics', () => {
  const entries = Object.entries(METRICS) as [MetricName, (typeof METRICS)[MetricName]][];

  test('are named and measured as Prometheus has it', () => {
    for (const [name, { type }] of entries) {
      expect(name).toMatch(/^bill_[a-z][a-z_]*$/);
      expect([name, name.endsWith('_total')]).toEqual([name, type === 'counter']);
      expect([name, /_(milliseconds|ms|minutes|hours|percent)$/.test(name)]).toEqual([name, false]);
    }
  });

  test('have no label for an id of anybody', () => {
    const ids = /(^|_)(id|organization|team|customer|card|email|user|key|token|url|path)$/;
    expect(entries.flatMap(([name, { labels }]) => labels.flatMap((label) => (ids.test(label) ? [`${name}.${label}`] : [])))).toEqual([]);
  });

  test('are described in docs/operating.md as the code has them', () => {
    const rows = [...read('docs/operating.md').matchAll(/^\| `(bill_\w+)` \| (\w+) \| ([^|]*?) ?\| (\w+) \| (.+) \|$/gm)].map(
      ([, name, type, labels = '', from, help]) => ({ name, type, labels: labels.split(/[` ]+/).filter(Boolean), from, help }),
    );
    expect(rows).toEqual(entries.map(([name, { type, labels, from, help }]) => ({ name, type, labels: [...labels], from, help })));
  });
});

const promtool = findProgram('promtool');
if (!promtool) console.warn('promtool is not installed, so it checks neither rules nor metrics: apt-get install prometheus');
const withPromtool = promtool ? describe : describe.skip;

function ask(args: string[], input = ''): { status: number | null; said: string } {
  const { status, stdout, stderr } = spawnSync(promtool ?? '', args, { cwd: ROOT, input, encoding: 'utf8' });
  return { status, said: `${stdout}${stderr}` };
}

withPromtool('promtool', () => {
  test.each([
    ['check', 'rules', 'deploy/prometheus/rules.yml'],
    ['check', 'config', 'deploy/prometheus/prometheus.yml'],
    ['test', 'rules', 'deploy/prometheus/rules.test.yml'],
  ])('%s %s %s', (...args) => {
    const { status, said } = ask(args);
    expect({ status, said }).toEqual({ status: 0, said: expect.stringContaining('SUCCESS') });
  });

  test.each(['serve', 'worker'] as const)('finds nothing wrong with the metrics of %s', async (kind) => {
    const metrics = new Metrics(kind, createLogger('silent'));
    metrics.watchProcess();
    expect(ask(['check', 'metrics'], await metrics.page())).toEqual({ status: 0, said: '' });
  });
});
