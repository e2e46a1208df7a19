import { TransactionPropagation } from '@mikro-orm/core';
import type { EntityManager } from './database.ts';

/**
 * Runs `work` in the transaction of the caller, or in one of its own where there is none: all or nothing either way, and
 * two statements fewer than with a savepoint. A caller that catches an error of it can do nothing more in its transaction.
 */
export function inTransaction<Result>(em: EntityManager, work: (tx: EntityManager) => Promise<Result>): Promise<Result> {
  return em.transactional(work, { propagation: TransactionPropagation.REQUIRED });
}
