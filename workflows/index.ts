/**
 * Every workflow of the service, for the worker's bundle. Code in this folder is deterministic: it imports
 * rules and types only.
 */
export { balanceSweepWorkflow } from './balance-sweep.ts';
export { rechargeWorkflow } from './recharge.ts';
export { reconcileWorkflow } from './reconcile.ts';
export { retentionWorkflow } from './retention.ts';
export { reversalWorkflow } from './reversal.ts';
export { teamSyncWorkflow } from './team-sync.ts';
