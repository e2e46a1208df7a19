/** What the activity of the sweep returns: JSON that stays in workflow history. */
import type { TeamsPart } from '../team-pages.ts';

export type SweepCounts = Omit<TeamsPart, 'next'> & {
  organizations: number;
  /** Organizations that need a recharge and pause after failed attempts. */
  waiting: number;
  /**
   * Organizations whose team was made for them and never used: nothing is charged for it. undefined: from a
   * worker of the version before.
   */
  unused?: string[];
  /** What was put into the inbox. `balance` in LiteLLM dollars, decimal. */
  reported: { organizationId: string; eventId: string; eventType: string; balance: string }[];
};
export type SweepPart = SweepCounts & Pick<TeamsPart, 'next'>;
