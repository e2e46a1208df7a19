/** A workflow that goes on in another run at once, as long ones do when their history has become long. */
import { continueAsNew } from '@temporalio/workflow';

export async function reconcileWorkflow(): Promise<void> {
  await continueAsNew();
}
