/** Traces cost nothing where nobody asks for them, and their parts read and write what W3C and Temporal have. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from '@jest/globals';
import { writeTraceparent } from '../../../src/domain/trace.ts';
import { reported } from '../../../src/gate.ts';
import { createLogger } from '../../../src/observability/log.ts';
import { activeTraceparent, beginSpan, failInTrace, startTracing, stopTracing, traced } from '../../../src/observability/tracing.ts';
import { collected, TRACING } from '../../support/collector.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

describe('a process without OTEL_…', () => {
  // But for its API, which prom-client brings along.
  test.each(['src/api.ts', 'src/worker.ts', 'src/cli/run.ts'])('that loads %s loads nothing of OpenTelemetry', (entry) => {
    const script = `
      import { createRequire, registerHooks } from 'node:module';
      const seen = [];
      registerHooks({ load(url, context, next) { seen.push(url); return next(url, context); } });
      await import(${JSON.stringify(`${ROOT}${entry}`)});
      const required = Object.keys(createRequire(import.meta.url).cache);
      console.log(JSON.stringify([...seen, ...required].filter((name) => /@opentelemetry\\/(?!api\\/)/.test(name))));`;
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', script], { cwd: ROOT, encoding: 'utf8' });
    expect({ loaded: stdout.trim(), stderr }).toEqual({ loaded: '[]', stderr: '' });
  });

  test('does its work as it is, and knows no trace', async () => {
    expect(beginSpan({ name: 'something' })).toBeUndefined();
    expect(await traced({ name: 'something' }, async () => activeTraceparent())).toBeUndefined();
  });
});

describe('what is traced', () => {
  afterEach(async () => {
    await stopTracing();
    delete process.env['OTEL_EXPORTER_OTLP_ENDPOINT'];
    delete process.env['OTEL_EXPORTER_OTLP_TIMEOUT'];
  });

  test('belongs to what it is done in, also over a wait', async () => {
    const spans = await collected(() =>
      traced({ name: 'outer' }, async () => {
        await new Promise((resolve) => setImmediate(resolve));
        await traced({ name: 'inner', attributes: { 'bill.event_id': 'evt_1' } }, async () => {});
      }),
    );
    const [inner, outer] = spans;
    expect(inner).toMatchObject({
      name: 'inner',
      parentSpanId: outer?.spanId,
      traceId: outer?.traceId,
      attributes: { 'bill.event_id': 'evt_1' },
    });
    expect(outer?.resource).toMatchObject({ 'service.name': 'bill-test', 'process.pid': process.pid });
  });

  test('goes on in a trace that another process has begun, under the id that it is given', async () => {
    const [traceId, spanId, id] = ['1'.repeat(32), '2'.repeat(16), '3'.repeat(16)];
    const [span] = await collected(async () =>
      beginSpan({ name: 'run', parent: writeTraceparent({ traceId, spanId, flags: 1 }), id })?.end(),
    );
    expect(span).toMatchObject({ traceId, parentSpanId: spanId, spanId: id });
  });

  test('is recorded as its sender, or the sampler, has decided', async () => {
    const unrecorded = writeTraceparent({ traceId: '1'.repeat(32), spanId: '2'.repeat(16), flags: 0 });
    expect(await collected(async () => beginSpan({ name: 'one', parent: unrecorded })?.end())).toEqual([]);
    expect(await collected(() => traced({ name: 'one' }, async () => {}), 'always_off')).toEqual([]);
  });

  test('fails as its work does, and says of an error its name only', async () => {
    const work = () => Promise.reject(new TypeError('sk_live_secret'));
    const spans = await collected(async () => {
      await traced({ name: 'a' }, work).catch(() => {});
      await traced({ name: 'b' }, async () => failInTrace('not_taken', 'the receiver said no'));
    });
    expect(spans).toMatchObject([
      { name: 'a', isFailed: true, attributes: { 'error.type': 'TypeError' } },
      { name: 'b', isFailed: true, attributes: { 'error.type': 'not_taken' } },
    ]);
    expect(JSON.stringify(spans)).not.toContain('sk_live');
  });

  test('has a span for each call, with its route, and the class of the status that it fails with', async () => {
    const call = (dependency: 'stripe' | 'litellm', route: string, work: () => Promise<unknown>) =>
      reported({ dependency, route, watch: () => {}, kindOf: () => 'unavailable' }, work).catch(() => {});
    const spans = await collected(async () => {
      await call('stripe', 'paymentIntents.confirm', async () => ({}));
      await call('stripe', 'paymentIntents.confirm', () => Promise.reject(Object.assign(new Error(), { status: 503 })));
    });
    expect(spans).toMatchObject([
      { name: 'stripe paymentIntents.confirm', isFailed: false, attributes: { 'peer.service': 'stripe', 'bill.status_class': '2xx' } },
      { isFailed: true, attributes: { 'error.type': 'unavailable', 'bill.status_class': '5xx' } },
    ]);
  });

  test('is named in the lines that are logged meanwhile, and in no other', async () => {
    const lines: Record<string, unknown>[] = [];
    const log = createLogger('info', { write: (line: string) => lines.push(JSON.parse(line)) });
    const [span] = await collected(async () => {
      log.info('before');
      await traced({ name: 'work' }, async () => log.info('meanwhile'));
    });
    expect(lines.map(({ msg, trace_id }) => ({ msg, trace_id }))).toEqual([
      { msg: 'before' },
      { msg: 'meanwhile', trace_id: span?.traceId },
    ]);
  });

  test('is lost, and that is told, where no collector takes it', async () => {
    process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] = 'http://127.0.0.1:1';
    // Until then it is tried again.
    process.env['OTEL_EXPORTER_OTLP_TIMEOUT'] = '300';
    const unsent: string[] = [];
    await startTracing({ ...TRACING, unsent: (reason) => unsent.push(reason) });
    expect(await traced({ name: 'work' }, async () => 'done')).toBe('done');
    await stopTracing();
    expect(unsent.length).toBeGreaterThan(0);
  });
});
