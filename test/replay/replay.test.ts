/**
 * Every recorded history replays on the present workflows: a run that is under way when this version is
 * deployed goes on in it. A file that fails here says that a change needs `patched`; see
 * docs/deploying-workflows.md.
 */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { DefaultLogger, type InjectedSinks, type ReplayResult, Runtime, Worker, type WorkflowBundle } from '@temporalio/worker';
import { TRACE_HEADER } from '../../src/domain/trace.ts';
import { bundleWorkflows, loadWorkflowBundle } from '../../src/temporal/workflow-bundle.ts';
import type { TraceSinks } from '../../workflows/trace.ts';
import { BRANCHES, LONG_BRANCHES } from './branches.ts';
import { readHistory, recordedBranches } from './histories.ts';

beforeAll(() => {
  // Failures are what some of these tests want; the results tell of them.
  Runtime.install({ telemetryOptions: { logging: { filter: 'OFF', forward: {} } }, logger: new DefaultLogger('ERROR', () => {}) });
});

afterAll(() => Runtime.instance().shutdown());

/** The branches whose histories do not replay on a bundle, each with the name of the error. */
async function failing(workflowBundle: WorkflowBundle): Promise<Record<string, string>> {
  const histories = recordedBranches().map((name) => ({ workflowId: name, history: readHistory(name) }));
  const results = Worker.runReplayHistories({ workflowBundle }, histories);
  const failed: Record<string, string> = {};
  for await (const { workflowId, error } of results as AsyncIterable<ReplayResult>) if (error) failed[workflowId] = error.name;
  return failed;
}

function workflowOf(branch: string): string | undefined {
  const [started] = readHistory(branch).events as { workflowExecutionStartedEventAttributes?: { workflowType: { name: string } } }[];
  return started?.workflowExecutionStartedEventAttributes?.workflowType.name;
}

function variant(name: string): Promise<WorkflowBundle> {
  return bundleWorkflows(fileURLToPath(new URL(`./variants/${name}.ts`, import.meta.url)));
}

/** As a history in JSON has it. */
function payload(value: object) {
  return {
    metadata: { encoding: Buffer.from('json/plain').toString('base64') },
    data: Buffer.from(JSON.stringify(value)).toString('base64'),
  };
}

test('every branch that can be recorded has a history', () => {
  expect(recordedBranches()).toEqual(expect.arrayContaining(Object.keys({ ...BRANCHES, ...LONG_BRANCHES })));
});

test('every workflow has a history', () => {
  const exported = readFileSync(new URL('../../workflows/index.ts', import.meta.url), 'utf8').matchAll(/export \{ (\w+) \}/g);
  const workflows = Array.from(exported, ([, name]) => name);
  expect(workflows).toContain('rechargeWorkflow');
  expect(recordedBranches().map(workflowOf)).toEqual(expect.arrayContaining(workflows));
});

test('all of them replay on the present workflows', async () => {
  expect(await failing(await loadWorkflowBundle())).toEqual({});
});

describe('a change of the workflows', () => {
  const recharges = recordedBranches().filter((name) => name.startsWith('recharge-'));

  test('that adds a timer at the beginning fails on the history of every recharge, and on no other', async () => {
    expect(await failing(await variant('pause-first'))).toEqual(
      Object.fromEntries(recharges.map((name) => [name, 'DeterminismViolationError'])),
    );
  });

  test('that adds a step at the end fails on every recharge that came to it', async () => {
    const failed = await failing(await variant('extra-step'));
    expect(failed).toMatchObject({ 'recharge-recharged': 'DeterminismViolationError', 'recharge-declined': 'DeterminismViolationError' });
  });

  test('behind `patched` fails on none', async () => {
    expect(await failing(await variant('patched'))).toEqual({});
  });
});

test.each(['sync-makes-what-is-missing', 'sweep-with-a-crossing', 'reconcile-without-fix'])(
  'a run of %s that began with an input that is refused now goes on',
  async (name) => {
    const history = readHistory(name) as unknown as { events: { workflowExecutionStartedEventAttributes?: { input?: unknown } }[] };
    const started = history.events[0]?.workflowExecutionStartedEventAttributes;
    if (started) started.input = { payloads: [payload({ foo: 1 })] };
    await expect(Worker.runReplayHistory({ workflowBundle: await loadWorkflowBundle() }, history)).resolves.toBeUndefined();
  },
);

test('a run that goes on in another one is told to its trace as no failure', async () => {
  const { events } = readHistory('reconcile-without-fix') as { events: { workflowExecutionStartedEventAttributes?: object }[] };
  const [started, scheduled, begun, completed] = events;
  const fields = { [TRACE_HEADER]: payload({ traceparent: '00-11111111111111111111111111111111-2222222222222222-01' }) };
  const traced = {
    ...started,
    workflowExecutionStartedEventAttributes: { ...started?.workflowExecutionStartedEventAttributes, header: { fields } },
  };
  const goneOn = {
    eventId: '5',
    eventType: 'EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW',
    workflowExecutionContinuedAsNewEventAttributes: { newExecutionRunId: randomUUID(), workflowTaskCompletedEventId: '4' },
  };
  const told: (string | null)[] = [];
  const sinks: InjectedSinks<TraceSinks> = {
    trace: { ended: { callDuringReplay: true, fn: (_info, { failure }) => void told.push(failure) } },
  };
  const history = { events: [traced, scheduled, begun, completed, goneOn] };
  await Worker.runReplayHistory({ workflowBundle: await variant('goes-on'), sinks }, history);
  expect(told).toEqual([null]);
});

test.each(recordedBranches())('the history of %s tells nothing of the machine that recorded it', (name) => {
  const text = readFileSync(new URL(`./histories/${name}.json`, import.meta.url), 'utf8');
  expect(text).not.toMatch(/\d+@[\w.-]+|\/home\/|\/root\/|\/work\/|\/tmp\//);
});
