import type { Removed } from '../../src/database/retention.ts';
import type { ExpiringTable } from '../../src/domain/retention.ts';

/** By table: what was removed, and beside it why it was not all of it. */
export type RemovedRows = { [table in ExpiringTable]?: Removed & { failed?: string } };
