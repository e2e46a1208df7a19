/** A Temporal that is somebody else's: a namespace that lacks our search attributes, and operators who pause. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { Client, Connection } from '@temporalio/client';
import pino from 'pino';
import { examineTemporal } from '../../src/cli/doctor/temporal.ts';
import { migrate } from '../../src/cli/migrate.ts';
import { scheduleIds } from '../../src/temporal/schedules.ts';
import { RECHARGED } from '../support/books.ts';
import { expectChargedOnce } from '../support/expectations.ts';
import { World } from '../support/world.ts';

// temporal.api.enums.v1.IndexedValueType
const KEYWORD = 2;

describe('a namespace', () => {
  let world: World;
  let temporal: Client;
  beforeAll(async () => {
    const namespace = `foreign-${Date.now()}`;
    const connection = await Connection.connect({ address: process.env['TEST_TEMPORAL_ADDRESS'] ?? '' });
    const workflowExecutionRetentionPeriod = { seconds: 86_400 as never };
    await connection.workflowService.registerNamespace({ namespace, workflowExecutionRetentionPeriod });
    temporal = new Client({ connection, namespace });
    world = await World.create({ TEMPORAL_NAMESPACE: namespace });
    await world.eventually(async () => temporal.workflowService.describeNamespace({ namespace }), 'the namespace is known');
    await Promise.all([world.startApi(), world.startWorker()]);
  });
  afterEach(() => world.clearFaults());
  afterAll(async () => {
    await temporal.connection.close();
    await world.close();
  });

  /** What `bill migrate` logs as a warning, each with its reason. */
  async function warningsOfMigrate(): Promise<Record<string, string>> {
    const warnings: Record<string, string> = {};
    const log = pino({ level: 'warn' }, { write: (line) => Object.assign(warnings, warningIn(line)) });
    await migrate(world.config, log);
    return warnings;
  }

  function warningIn(line: string): Record<string, string> {
    const { attribute, reason } = JSON.parse(line);
    return { [attribute]: reason };
  }

  async function searchAttributesOf(eventId: string): Promise<string[]> {
    const { typedSearchAttributes } = await temporal.workflow.getHandle((await world.runOf(eventId)).workflowId).describe();
    return typedSearchAttributes
      .getAll()
      .map(({ key }) => key.name)
      .filter((name) => /^(OrganizationId|LiteLLMTeamId|Recharge|AmountMinor)/.test(name));
  }

  test('case 96: that has none of our search attributes: a recharge and the run after a refund start and end without them', async () => {
    const { organization, eventId, intentId, rechargeId } = await world.recharged();
    await expectChargedOnce(world, organization);
    expect(await searchAttributesOf(eventId)).toEqual([]);
    await world.stripe.refunds.create({ payment_intent: intentId });
    const findings = await world.findingsOf(organization);
    expect(findings).toMatchObject([{ kind: 'money_returned', settled: true }]);
    expect((await temporal.workflow.getHandle(`reversal/${rechargeId}`).describe()).type).toBe('reversalWorkflow');
  });

  test('case 96: that has one of another type and room for none: both are named, the schedules are made, runs do without', async () => {
    await addAttributes({ AmountMinor: KEYWORD });
    for (let other = 1; ; other++) {
      const refused = await addAttributes({ [`Other${other}`]: KEYWORD }).then(
        () => false,
        () => true,
      );
      if (refused) break;
    }
    const warnings = await warningsOfMigrate();
    expect(warnings['AmountMinor']).toBe('is Keyword, not Int');
    expect(warnings['OrganizationId']).toMatch(/^is missing and cannot be made: /);
    for (const id of scheduleIds()) expect((await temporal.schedule.getHandle(id).describe()).scheduleId).toBe(id);
    const readings = await examineTemporal(temporal, world.config.temporal);
    expect(readings.find(({ check }) => check === 'search attributes')).toMatchObject({
      verdict: 'change',
      seen: expect.stringContaining('AmountMinor, which is Keyword, not Int'),
    });
    await expectChargedOnce(world, (await world.recharged()).organization);
  });

  test('case 96: that has room for some: these are made, and runs show them', async () => {
    const names = ['Other1', 'Other2', 'AmountMinor'];
    await temporal.connection.operatorService.removeSearchAttributes({ namespace: temporal.options.namespace, searchAttributes: names });
    await warningsOfMigrate();
    // As a worker that starts now: one that runs has left them out, and tries again in five minutes.
    await Promise.all([world.stopApi(), world.stopWorker()]);
    await Promise.all([world.startApi(), world.startWorker()]);
    const { eventId } = await world.recharged();
    expect(await searchAttributesOf(eventId)).toEqual(expect.arrayContaining(['OrganizationId', 'AmountMinor']));
    expect((await searchAttributesOf(eventId)).length).toBeLessThan(5);
  });

  test('a pause of a schedule, and its reason, outlive the next bill migrate', async () => {
    const sweep = temporal.schedule.getHandle('balance-sweep');
    await sweep.pause('while we look at something');
    await warningsOfMigrate();
    expect((await sweep.describe()).state).toMatchObject({ paused: true, note: 'while we look at something' });
  });

  async function addAttributes(searchAttributes: Record<string, number>): Promise<void> {
    await temporal.connection.operatorService.addSearchAttributes({ namespace: temporal.options.namespace, searchAttributes });
  }
});

describe('an operator', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start();
  });
  afterEach(() => world.clearFaults());
  afterAll(() => world.close());

  test('case 97: who pauses a run: reconciliation leaves it alone, and it goes on when it is unpaused', async () => {
    const organization = await world.organization();
    const refusal = await world.refuseBudget(organization);
    const eventId = await world.accepted(organization);
    await refusal.struck();
    const run = await world.runOf(eventId);
    const { runId } = await run.describe();
    const of = { namespace: 'default', workflowId: run.workflowId, runId, identity: 'an operator', requestId: randomUUID() };
    await world.temporal.workflowService.pauseWorkflowExecution({ ...of, reason: 'while we look at something' });
    await world.eventually(async () => (await run.describe()).status.name === 'PAUSED', 'the run is paused');
    await world.sql.query(`update webhook_event set received_at = now() - interval '1 hour', dispatched_at = now() - interval '1 hour'`);
    await world.sql.query(`update recharge set updated_at = now() - interval '1 hour'`);

    expect((await world.findingsOf(organization)).filter(({ kind }) => kind === 'run_missing')).toEqual([]);
    expect((await run.describe()).runId).toBe(runId);
    expect((await run.describe()).status.name).toBe('PAUSED');

    await refusal.remove();
    await world.temporal.workflowService.unpauseWorkflowExecution({ ...of, reason: 'done' });
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });
});
