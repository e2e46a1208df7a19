/** What `bill doctor` says about one thing that it has looked at. */
import { withDeadline } from '../../deadline.ts';

export type Reading = {
  area: string;
  check: string;
  /** `note`: works, but worth knowing; `change`: has to be changed. */
  verdict: 'ok' | 'note' | 'change';
  seen: string;
  /** What to change. */
  advice: string | null;
};

/** A look tells what it saw; what it throws has to be changed. */
export type Look = string | Pick<Reading, 'verdict' | 'seen' | 'advice'>;

/** Nothing that is well takes so long. */
const LOOK_DEADLINE_MS = 20_000;

/** @param advice what to change when the look throws. */
export async function look(area: string, check: string, advice: string, work: () => Promise<Look>): Promise<Reading> {
  try {
    const seen = await withDeadline(work(), LOOK_DEADLINE_MS);
    return { area, check, ...(typeof seen === 'string' ? { verdict: 'ok', seen, advice: null } : seen) };
  } catch (error) {
    const [seen = 'unknown'] = (error as Error).message.split('\n');
    return { area, check, verdict: 'change', seen, advice };
  }
}

export function change(seen: string, advice: string): Look {
  return { verdict: 'change', seen, advice };
}

export function note(seen: string, advice: string): Look {
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
