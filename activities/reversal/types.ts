/** What the activities of a reversal take and return: JSON that stays in workflow history. */
import type { ReversalDecision } from '../../src/domain/reversal.ts';

export type ReversalRef = { reversalId: string };

/** What has to be done about the refunds and disputes of a recharge; what is opened is recorded already. */
export type ReversalsResult = Omit<ReversalDecision, 'open'>;
