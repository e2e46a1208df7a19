/** The least that has the four steps of a recharge: each does nothing, and is as durable as theirs. */
import { proxyActivities } from '@temporalio/workflow';

const { nothing } = proxyActivities<{ nothing: () => Promise<void> }>({ startToCloseTimeout: '10 seconds' });

export async function fourSteps(): Promise<void> {
  for (let step = 0; step < 4; step++) await nothing();
}
