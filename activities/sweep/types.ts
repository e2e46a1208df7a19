/** What the activity of the sweep returns: JSON that stays in workflow history. */
import type { TeamsCursor, TeamsPart } from '../team-pages.ts';

export type SweepCounts = Omit<TeamsPart, 'next'> & {
  organizations: number;
  /** Organizations that need a recharge and pause after failed attempts. */
  waiting: number;
  /** Which, or the first of them. undefined: from a worker of the version before. */
  paused?: string[];
  /**
   * Organizations whose team was made for them and never used: nothing is charged for it. undefined: from a
   * worker of the version before.
   */
  unused?: string[];
  /** What was put into the inbox. `balance` in LiteLLM dollars, decimal. */
  reported: { organizationId: string; eventId: string; eventType: string; balance: string }[];
};
/**
 * `sweep`: of the parts before. `since`: when the first one began, by the database's clock. undefined: there was none, or
 * a worker of an earlier version has made it.
 */
export type SweepCursor = TeamsCursor & { sweep?: { since: string } };
export type SweepPart = SweepCounts & { next: SweepCursor | null };
