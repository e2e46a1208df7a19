/**
 * The Temporal SDK's own metrics, which its native part shows on an address of its own on loopback, on the page of the
 * worker: one address to scrape for each process.
 */
import type { Metrics } from './metrics.ts';

/** It is this process that answers. */
const READ_DEADLINE_MS = 1_000;

/** @param address such as `127.0.0.1:39421`; undefined where the SDK shows none. */
export function showSdkMetrics(metrics: Metrics, address: string | undefined): void {
  let text = '';
  metrics.beforePage("the Temporal SDK's metrics", async () => {
    text = '';
    metrics.set('bill_sdk_metrics_up', {}, 0);
    if (address === undefined) return;
    const answer = await fetch(`http://${address}/metrics`, { signal: AbortSignal.timeout(READ_DEADLINE_MS) });
    if (!answer.ok) throw new Error(`the SDK answers ${answer.status}`);
    text = await answer.text();
    metrics.set('bill_sdk_metrics_up', {}, 1);
  });
  metrics.appendToPage((page) => `${page}${withoutNamesOf(page, text)}`);
}

/**
 * The families of `text` whose names are not on the page already: Prometheus refuses a whole page on which a family
 * stands twice.
 */
export function withoutNamesOf(page: string, text: string): string {
  const names = new Set(Array.from(page.matchAll(/^# TYPE (\S+)/gm), ([, name]) => name));
  let isKept = true;
  const lines = text.split('\n').filter((line) => {
    const [, name] = /^# (?:HELP|TYPE) (\S+)/.exec(line) ?? [];
    if (name !== undefined) isKept = !names.has(name);
    return isKept && line !== '';
  });
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}
