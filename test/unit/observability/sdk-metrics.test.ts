import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import { createLogger } from '../../../src/observability/log.ts';
import { Metrics } from '../../../src/observability/metrics.ts';
import { showSdkMetrics, withoutNamesOf } from '../../../src/observability/sdk-metrics.ts';

const OURS = '# HELP bill_a A\n# TYPE bill_a gauge\nbill_a 1\n';
const THEIRS = '# HELP temporal_b B\n# TYPE temporal_b counter\ntemporal_b{x="1"} 2\n';

let server: Server | undefined;
afterEach(() => {
  server?.close();
});

/** Something that answers as the SDK does. */
async function sdk(status: number, text: string): Promise<string> {
  server = createServer((_request, response) => response.writeHead(status).end(text));
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function pageWith(address: string | undefined): Promise<string> {
  const metrics = new Metrics('worker', createLogger('silent'));
  showSdkMetrics(metrics, address);
  return metrics.page();
}

test("the SDK's families follow ours", () => {
  expect(withoutNamesOf(OURS, THEIRS)).toBe(THEIRS);
  expect(withoutNamesOf(OURS, '')).toBe('');
});

test('a family that is on the page already is left out with its samples, because Prometheus would refuse the page', () => {
  const clash = '# HELP bill_a other\n# TYPE bill_a counter\nbill_a{x="1"} 9\nbill_a{x="2"} 9\n';
  expect(withoutNamesOf(OURS, clash + THEIRS)).toBe(THEIRS);
  expect(withoutNamesOf(OURS, THEIRS + clash)).toBe(THEIRS);
});

test("the page of a worker has the SDK's own, and says so", async () => {
  const page = await pageWith(await sdk(200, THEIRS));
  expect(page).toContain(THEIRS);
  expect(page).toContain('bill_sdk_metrics_up 1');
});

test.each([
  ['answers with a failure', () => sdk(500, THEIRS)],
  ['is not there', async () => '127.0.0.1:9'],
  ['shows none', async () => undefined],
])('an SDK that %s leaves the rest of the page as it is', async (_what, address) => {
  const page = await pageWith(await address());
  expect(page).not.toContain('temporal_b');
  expect(page).toContain('bill_sdk_metrics_up 0');
  expect(page).toContain('# TYPE bill_recharges_total counter');
});
