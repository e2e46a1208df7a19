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

/** "3 minutes ago", in the largest unit that fits. */
export function ago(at: Date, now = Date.now()): string {
  const seconds = Math.max(0, Math.round((now - at.getTime()) / 1000));
  for (const [unit, size] of [
    ['day', 86_400],
    ['hour', 3_600],
    ['minute', 60],
  ] as const) {
    const count = Math.floor(seconds / size);
    if (count >= 1) return `${count} ${unit}${count === 1 ? '' : 's'} ago`;
  }
  return `${seconds} s ago`;
}
