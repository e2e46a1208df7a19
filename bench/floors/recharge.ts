/**
 * A worker of a workflow with four activities that do nothing, as large as the service's.
 *
 * TEMPORAL_ADDRESS in the environment; prints a line when it polls.
 */
import { fileURLToPath } from 'node:url';
import { NativeConnection, Worker } from '@temporalio/worker';
import { bundleApart } from '../../src/temporal/workflow-bundle.ts';

const worker = await Worker.create({
  connection: await NativeConnection.connect({ address: process.env['TEMPORAL_ADDRESS'] ?? '' }),
  taskQueue: 'floor',
  workflowBundle: { code: await bundleApart(fileURLToPath(new URL('./workflow.ts', import.meta.url))) },
  activities: { nothing: async () => {} },
  maxConcurrentActivityTaskExecutions: 40,
});
const running = worker.run();
console.log('the floor polls');
await running;
