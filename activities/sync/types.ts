/** What the activities of the synchronisation take and return: JSON that stays in workflow history. */
import type { SyncWish } from '../../src/database/sync-runs.ts';
import type { SyncCounts, SyncOutcome } from '../../src/domain/sync.ts';
import type { TeamsCursor } from '../team-pages.ts';

/** A run of the synchronisation. `since`: when it began by the database's clock, RFC 3339. */
export type SyncRef = SyncWish & { runId: string; since: string };
export type SyncTeamsPart = { counts: SyncCounts; next: TeamsCursor | null };
/** `next`: the organization after which the next part begins; null at the end. */
export type SyncOrganizationsPart = { counts: SyncCounts; next: string | null };
export type SyncSummary = { runId: string; counts: SyncCounts; outcomes: Partial<Record<SyncOutcome, number>> };
