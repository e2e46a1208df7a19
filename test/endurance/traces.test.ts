/**
 * One trace shows an alert from its request to the raised budget: over two APIs, of which one cannot reach Temporal and
 * dies, a raise that LiteLLM refuses, and the death of the worker.
 *
 * With OTEL_EXPORTER_OTLP_ENDPOINT the traces go to a collector of your own too: docs/images/trace.svg was drawn of what
 * one has written; see test/support/waterfall.ts.
 */
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type InjectedSinks, Worker } from '@temporalio/worker';
import { bundleWorkflows } from '../../src/temporal/workflow-bundle.ts';
import { type CollectedSpan, Collector } from '../support/collector.ts';
import { ALWAYS, UNAVAILABLE, WRITE_BUDGET } from '../support/faults.ts';
import { type BillProcess, Processes } from '../support/processes.ts';
import { type Organization, World } from '../support/world.ts';

let world: World;
let collector: Collector;
let receiver: Server;
const told: { type: string; traceparent: IncomingHttpHeaders[string] }[] = [];
const processes = new Processes();

let organization: Organization;
let eventId: string;
let trace: CollectedSpan[];
let processesOf: Record<'taking' | 'dispatching' | 'dying' | 'surviving', BillProcess>;

/** Before the process that has recorded it dies. */
async function isTold(span: (span: CollectedSpan) => boolean): Promise<void> {
  await world.eventually(async () => collector.spans.some(span), 'a span is told');
}

/** How the alert went is what the tests below look at. */
beforeAll(async () => {
  receiver = createServer((request, response) => {
    request.on('data', (body: Buffer) => told.push({ type: JSON.parse(String(body)).type, traceparent: request.headers['traceparent'] }));
    request.on('end', () => response.end());
  });
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  const { port } = receiver.address() as AddressInfo;
  world = await World.create({ NOTIFY_WEBHOOK_URL: `http://127.0.0.1:${port}`, NOTIFY_WEBHOOK_SECRET: 'a-secret-of-the-receiver' });
  collector = await Collector.start(process.env['OTEL_EXPORTER_OTLP_ENDPOINT']);
  const start = (command: 'serve' | 'worker', more: Record<string, string> = {}) =>
    processes.start(command, world, { ...collector.env, ...more });

  const dispatching = await start('serve');
  const dying = await start('worker');
  organization = await world.organization();
  await world.admin.get(`/api/v1/organizations/${organization.id}/balance`);
  // The one that takes the alert comes to Temporal never: the other one dispatches it.
  const taking = await start('serve', { TEMPORAL_ADDRESS: '127.0.0.1:1' });
  const refused = await world.kmsFault({ ...WRITE_BUDGET, contains: organization.teamId, times: ALWAYS, action: UNAVAILABLE });
  eventId = await world.accepted(organization);
  await world.eventually(async () => taking.lines.some((line) => line.includes('not dispatched')), 'it is not dispatched');
  const toldOfDispatch = ({ name, isFailed }: CollectedSpan) => name === 'dispatch alert' && isFailed;
  await isTold(toldOfDispatch);
  await taking.kill();
  await refused.struck();
  const failed = (span: CollectedSpan) => span.name === 'updateKmsQuota' && span.isFailed;
  await isTold(failed);
  await dying.kill();
  await refused.remove();
  const surviving = await start('worker');
  expect(await world.closed(eventId)).toMatchObject({ outcome: 'succeeded' });
  await world.eventually(async () => told.some(({ type }) => type === 'recharge.succeeded'), 'the receiver is told');
  processesOf = { taking, dispatching, dying, surviving };
  // The run ends after it is told of.
  const isThere = (name: string) => collector.spans.some((span) => span.name === name && span.attributes['bill.event_id'] === eventId);
  await world.eventually(async () => isThere('rechargeWorkflow') && isThere('deliver recharge.succeeded'), 'the last spans are told');
  const request = collector.spans.find(
    ({ name, attributes }) => name.startsWith('POST /webhooks/litellm') && attributes['bill.event_id'] === eventId,
  );
  trace = collector.spans.filter(({ traceId }) => traceId === request?.traceId);
}, 300_000);

afterAll(async () => {
  await processes.killAll();
  await world?.close();
  await collector?.stop();
  receiver?.close();
});

const named = (name: string) => trace.filter((span) => span.name === name);
const pidsOf = (spans: CollectedSpan[]) => [...new Set(spans.map(({ resource }) => resource['process.pid']))];
const pid = (name: keyof typeof processesOf) => processesOf[name].process.pid;

test('the budget is raised, and that is told', () => {
  expect(told.map(({ type }) => type)).toContain('recharge.succeeded');
});

describe('one trace', () => {
  test('has all that was done for the alert, from the request to the raised budget and the event that tells of it', () => {
    const names = trace.map(({ name }) => name);
    expect(names).toEqual(
      expect.arrayContaining([
        'POST /webhooks/litellm/limit-exceeded',
        'dispatch alert',
        'rechargeWorkflow',
        'checkLimits',
        'chargeStripe',
        'recordRecharge',
        'updateKmsQuota',
        'litellm GET /team/info',
        'litellm POST /team/update',
        'stripe paymentIntents.create',
        'stripe paymentIntents.confirm',
        'deliver recharge.succeeded',
      ]),
    );
    // Nothing of the alert is in another trace.
    expect(collector.spans.filter((span) => span.attributes['bill.event_id'] === eventId && !trace.includes(span))).toEqual([]);
  });

  test('is one tree: its root is the request, and each other span belongs to one that is there', () => {
    const ids = new Set(trace.map(({ spanId }) => spanId));
    const roots = trace.filter(({ parentSpanId }) => !ids.has(parentSpanId));
    expect(roots.map(({ name }) => name)).toEqual(['POST /webhooks/litellm/limit-exceeded']);
    // A replay by the second worker has recorded nothing again.
    expect(ids.size).toBe(trace.length);
    expect(named('rechargeWorkflow')).toHaveLength(1);
    expect(named('chargeStripe').filter(({ isFailed }) => !isFailed)).toHaveLength(1);
  });

  test('goes over both APIs: the one that took the alert failed to dispatch it, the other one did', () => {
    expect(pidsOf(named('POST /webhooks/litellm/limit-exceeded'))).toEqual([pid('taking')]);
    const attempts = named('dispatch alert');
    expect(pidsOf(attempts.filter(({ isFailed }) => isFailed))).toContain(pid('taking'));
    expect(pidsOf(attempts.filter(({ isFailed }) => !isFailed))).toEqual([pid('dispatching')]);
  });

  test('goes over both workers: an attempt failed with the one that died, a later one succeeded with the other', () => {
    const attempts = named('updateKmsQuota');
    const failed = attempts.filter(({ isFailed }) => isFailed);
    expect(pidsOf(failed)).toContain(pid('dying'));
    expect(failed[0]?.attributes).toMatchObject({ 'temporal.attempt': 1, 'error.type': expect.any(String) });
    const succeeded = attempts.filter(({ isFailed }) => !isFailed);
    expect(pidsOf(succeeded)).toEqual([pid('surviving')]);
    expect(succeeded[0]?.attributes['temporal.attempt']).toBeGreaterThan(1);
    expect(pidsOf(named('rechargeWorkflow'))).toEqual([pid('surviving')]);
  });

  test('names event, organization, recharge and run, and no secret and no query', async () => {
    const { rows } = await world.sql.query('select id, payment_intent_id from recharge where event_id = $1', [eventId]);
    const workflowId = `recharge/${organization.id}/${eventId}`;
    const ids = { 'bill.event_id': eventId, 'bill.organization_id': organization.id, temporalWorkflowID: workflowId };
    for (const name of ['checkLimits', 'chargeStripe', 'updateKmsQuota'])
      for (const { attributes } of named(name)) expect(attributes).toMatchObject({ ...ids, temporalRunID: expect.any(String) });
    for (const { attributes } of named('chargeStripe')) expect(attributes['bill.recharge_id']).toBe(rows[0].id);
    expect(named('deliver recharge.succeeded')[0]?.attributes).toMatchObject({ 'bill.recharge_id': rows[0].id, 'bill.event_id': eventId });
    const written = JSON.stringify(collector.spans);
    const { env } = world;
    const secrets = [
      'STRIPE_SECRET_KEY',
      'KMS_API_KEY',
      'ADMIN_API_KEY',
      'WEBHOOK_HMAC_SECRETS',
      'WEBHOOK_URL_TOKENS',
      'NOTIFY_WEBHOOK_SECRET',
    ];
    for (const name of secrets) expect(written).not.toContain(env[name]);
    expect(written).not.toContain(organization.customerId);
    expect(written).not.toMatch(/\?\w+=/);
  });

  test('is named in the log lines of that work, and goes on to the receiver', () => {
    const traceId = trace[0]?.traceId;
    const lines = [...processesOf.dying.lines, ...processesOf.surviving.lines].map((line) => JSON.parse(line));
    const messages = lines.filter(({ trace_id }) => trace_id === traceId).map(({ msg }) => msg);
    expect(messages).toEqual(expect.arrayContaining(['a recharge is reserved', 'charged', 'the quota is raised']));
    const [succeeded] = told.filter(({ type }) => type === 'recharge.succeeded');
    expect(succeeded?.traceparent).toContain(traceId);
  });

  test('of a request to the admin API has the calls that it makes', () => {
    const request = collector.spans.find(({ name }) => name === 'GET /api/v1/organizations/:id/balance');
    const calls = collector.spans.filter(({ parentSpanId }) => parentSpanId === request?.spanId).map(({ name }) => name);
    expect(calls).toContain('litellm GET /team/info');
    expect(collector.spans.filter(({ name }) => /health|ready|metrics/.test(name))).toEqual([]);
  });

  test('is recorded by no replay of its run', async () => {
    let ended = 0;
    const sinks: InjectedSinks<{ trace: { ended(): void } }> = { trace: { ended: { callDuringReplay: false, fn: () => void ended++ } } };
    const handle = await world.runOf(eventId);
    const history = await handle.fetchHistory();
    await Worker.runReplayHistory({ workflowBundle: await bundleWorkflows(), sinks }, history, handle.workflowId);
    expect(ended).toBe(0);
  });
});
