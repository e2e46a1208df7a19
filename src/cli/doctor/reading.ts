/** One check of `bill doctor`, and its reading. */
import { describeDatabaseError, isDatabaseError } from '../../database/errors.ts';
import { withDeadline } from '../../deadline.ts';
import { whyUnreachable } from '../../domain/unreachable.ts';
import { grpcErrorIn } from '../../temporal/errors.ts';

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
export const LOOK_DEADLINE_MS = 10_000;

/** What is checked, and what to change when the check throws. */
type Question = { area: string; check: string; advice?: string };

export async function runCheck({ area, check, advice = '' }: Question, work: () => Promise<Observation>): Promise<Reading> {
  try {
    const seen = await withDeadline(work(), LOOK_DEADLINE_MS);
    return { area, check, ...(typeof seen === 'string' ? { verdict: 'ok', seen, advice: null } : seen) };
  } catch (error) {
    return { area, check, verdict: 'change', seen: reasonIn(error), advice };
  }
}

/** For a person, who finds the setting and the next step in the advice beside it. */
function reasonIn(error: unknown): string {
  const unreachable = whyUnreachable(error);
  if (unreachable) return unreachable;
  if (isDatabaseError(error)) return withoutAdvice(describeDatabaseError(error));
  const said = grpcErrorIn(error)?.details ?? (error as Error).message;
  return said.split('\n')[0] || 'it gives no reason';
}

/** Other commands send whoever reads them to `bill doctor`. */
export function withoutAdvice(failure: string): string {
  return failure.replace(/: start it, or correct .*; bill doctor checks it$/, '');
}

export function change(seen: string, advice: string): Observation {
  return { verdict: 'change', seen, advice };
}

export function note(seen: string, advice: string): Observation {
  return { verdict: 'note', seen, advice };
}
