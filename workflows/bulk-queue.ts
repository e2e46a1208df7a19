import { workflowInfo } from '@temporalio/workflow';
import { bulkQueueOf } from './contract.ts';

/** For the proxies of bulk work. Each run has modules of its own, so it is the run's. */
export const BULK_QUEUE = bulkQueueOf(workflowInfo().taskQueue);
