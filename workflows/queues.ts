import { workflowInfo } from '@temporalio/workflow';
import { bulkQueueOf, chargeQueueOf } from './contract.ts';

/** For the proxies. Each run has modules of its own, so they are the run's. */
export const BULK_QUEUE = bulkQueueOf(workflowInfo().taskQueue);
export const CHARGE_QUEUE = chargeQueueOf(workflowInfo().taskQueue);
