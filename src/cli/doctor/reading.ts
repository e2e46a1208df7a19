/** One check of `bill doctor`, and its reading. */
import { withDeadline } from '../../deadline.ts';

export type Reading = {
  area: string;
  check: string;
  /** `note`: works, but worth knowing; `change`: does not work until it is changed. */
  verdict: 'ok' | 'note' | 'change';
  seen: string;
  /** What to change. */
  advice: string | null;
};

/** What a check saw; a text alone is fine. A check that throws has found something to change. */
export type Observation = string | Pick<Reading, 'verdict' | 'seen' | 'advice'>;

/** A check that takes longer counts as failed. */
const LOOK_DEADLINE_MS = 20_000;

/** What is checked, and what to change when the check throws. */
type Question = { area: string; check: string; advice?: string };

export async function runCheck({ area, check, advice = '' }: Question, work: () => Promise<Observation>): Promise<Reading> {
  try {
    const seen = await withDeadline(work(), LOOK_DEADLINE_MS);
    return { area, check, ...(typeof seen === 'string' ? { verdict: 'ok', seen, advice: null } : seen) };
  } catch (error) {
    const [seen = 'unknown'] = (error as Error).message.split('\n');
    return { area, check, verdict: 'change', seen, advice };
  }
}

export function change(seen: string, advice: string): Observation {
  return { verdict: 'change', seen, advice };
}

export function note(seen: string, advice: string): Observation {
  return { verdict: 'note', seen, advice };
}
