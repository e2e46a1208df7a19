/**
 * Cuts a failing schedule down to the steps that it takes: halves are left out first, then fewer, then single
 * ones.
 */
import type { Schedule } from './schedule.ts';
import type { Simulation, Verdict } from './simulate.ts';

/** Timing is real, so a list that can fail need not. */
const TRIES = 2;
const MAX_MS = 5 * 60_000;
/** What is stuck is found sooner than in a full run. */
const SETTLE_MS = 30_000;

export type Shrunk = {
  /** The steps that are left, by their numbers from 1 in the whole schedule. */
  steps: number[];
  verdict: Omit<Verdict, 'run'>;
  /** How many lists were tried. */
  tried: number;
};

/** Undefined when the whole schedule does not fail again. */
export async function shrink(simulation: Simulation, title: string, schedule: Schedule): Promise<Shrunk | undefined> {
  const deadline = Date.now() + MAX_MS;
  let tried = 0;
  const failing = async (steps: number[]): Promise<Omit<Verdict, 'run'> | undefined> => {
    const shorter = { ...schedule, steps: schedule.steps.filter((_, position) => steps.includes(position + 1)) };
    tried++;
    for (let attempt = 0; attempt < TRIES && Date.now() < deadline; attempt++) {
      const verdicts = await simulation.playCopies(title, shorter, SETTLE_MS);
      const wrong = verdicts.find(({ violations }) => violations.length > 0);
      if (wrong) return wrong;
    }
    return undefined;
  };

  let steps = schedule.steps.map((_, position) => position + 1);
  let verdict = await failing(steps);
  if (!verdict) return undefined;
  for (let size = Math.ceil(steps.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let from = 0; from < steps.length; ) {
      const without = [...steps.slice(0, from), ...steps.slice(from + size)];
      const found = await failing(without);
      if (found) [steps, verdict] = [without, found];
      else from += size;
    }
  }
  return { steps, verdict, tried };
}
