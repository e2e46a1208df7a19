/** Prometheus' text format, and a real Prometheus that scrapes the service: Debian's package `prometheus`. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../sandbox/ports.ts';
import { eventually } from './time.ts';

export type Sample = { name: string; labels: Record<string, string>; value: number };

/** The samples of a page. */
export function parsePage(text: string): Sample[] {
  return text.split('\n').flatMap((line) => {
    const [, name, labels = '', value] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    if (name === undefined || value === undefined) return [];
    const pairs = Array.from(labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g), ([, label = '', text = '']) => [label, text]);
    return [{ name, labels: Object.fromEntries(pairs), value: Number(value) }];
  });
}

/** The sum of the samples of a name that have these labels. */
export function totalOf(samples: readonly Sample[], name: string, labels: Record<string, string>): number {
  return samples
    .filter((sample) => sample.name === name && Object.entries(labels).every(([label, value]) => sample.labels[label] === value))
    .reduce((sum, { value }) => sum + value, 0);
}

/** Where a program of the package `prometheus` is; undefined where it is not installed: `apt-get install prometheus`. */
export function findProgram(name: 'prometheus' | 'promtool'): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/bin', '/usr/local/bin'];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

export const RULES_FILE = fileURLToPath(new URL('../../deploy/prometheus/rules.yml', import.meta.url));

/**
 * The rules as somebody would have them who lives so many times faster: each `for:`, and each age that is written in
 * minutes (`15 * 60`), divided by the factor. The windows of rates stay.
 */
export function shortened(rules: string, factor: number): string {
  const seconds = (minutes: string) => Math.max(1, Math.round((Number(minutes) * 60) / factor));
  return rules
    .replace(/^( +for: )(\d+)m$/gm, (_line, begin: string, minutes: string) => `${begin}${seconds(minutes)}s`)
    .replace(/\b(\d+) \* 60\b/g, (_age, minutes: string) => String(seconds(minutes)));
}

export type Alert = { labels: Record<string, string>; state: 'pending' | 'firing'; value: string };
type Answer<T> = { status: 'success'; data: T } | { status: 'error'; error: string };

export class Prometheus {
  private readonly url: string;
  private readonly child: ChildProcess;

  private constructor(url: string, child: ChildProcess) {
    this.url = url;
    this.child = child;
  }

  /**
   * Starts one that looks every two seconds, and waits until it has looked at each target once.
   *
   * @param ports of the metrics, by job.
   * @param factor see `shortened`.
   */
  static async start(ports: Readonly<Record<'bill-serve' | 'bill-worker', readonly number[]>>, factor = 1): Promise<Prometheus> {
    const program = findProgram('prometheus');
    if (!program) throw new Error('prometheus is not installed: apt-get install prometheus');
    const folder = mkdtempSync(join(tmpdir(), 'bill-prometheus-'));
    writeFileSync(join(folder, 'rules.yml'), shortened(readFileSync(RULES_FILE, 'utf8'), factor));
    const scrapes = Object.entries(ports).map(([job_name, list]) => ({
      job_name,
      static_configs: [{ targets: list.map((port) => `127.0.0.1:${port}`) }],
    }));
    const config = {
      global: { scrape_interval: '2s', evaluation_interval: '1s', scrape_timeout: '2s' },
      rule_files: [join(folder, 'rules.yml')],
      scrape_configs: scrapes,
    };
    writeFileSync(join(folder, 'prometheus.yml'), JSON.stringify(config));
    const port = await freePort();
    const args = [`--config.file=${folder}/prometheus.yml`, `--storage.tsdb.path=${folder}/data`, `--web.listen-address=127.0.0.1:${port}`];
    const child = spawn(program, args, { stdio: 'ignore' });
    process.once('exit', () => child.kill('SIGKILL'));
    const prometheus = new Prometheus(`http://127.0.0.1:${port}`, child);
    const targets = Object.values(ports).flat().length;
    await eventually(async () => {
      if (child.exitCode !== null) throw new Error(`prometheus has ended with ${child.exitCode}`);
      return (await prometheus.query('up')).length === targets;
    }, 'prometheus has looked at each target');
    return prometheus;
  }

  async alerts(): Promise<Alert[]> {
    return (await this.get<{ alerts: Alert[] }>('/api/v1/alerts')).alerts;
  }

  /** The names of the alerts that fire now. */
  async firing(): Promise<string[]> {
    return (await this.alerts()).flatMap(({ state, labels: { alertname = '' } }) => (state === 'firing' ? [alertname] : []));
  }

  /** @throws when Prometheus does not understand it. */
  async query(expression: string): Promise<{ metric: Record<string, string>; value: [number, string] }[]> {
    return (
      await this.get<{ result: { metric: Record<string, string>; value: [number, string] }[] }>(
        `/api/v1/query?query=${encodeURIComponent(expression)}`,
      )
    ).result;
  }

  private async get<T>(path: string): Promise<T> {
    const answer = (await (await fetch(`${this.url}${path}`)).json()) as Answer<T>;
    if (answer.status === 'error') throw new Error(`prometheus: ${answer.error}`);
    return answer.data;
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null) return;
    const gone = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill('SIGTERM');
    await gone;
  }
}
