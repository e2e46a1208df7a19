/** Which runs are played, by which worker, and in which order. */
import { drawSchedule, type Roughness } from './draw.ts';
import { playsAlone } from './schedule.ts';

/** What a worker has room for: a run that has the service to itself, or one among others. */
export type Room = 'alone' | 'together';

/** The runs of a seed that nobody has begun. */
export class Plan {
  private readonly open: Record<Room, { run: number; steps: number }[]> = { alone: [], together: [] };

  /** @param finished runs that need not be played. */
  constructor({ seed, runs, roughness }: { seed: number; runs: number; roughness: Roughness }, finished: ReadonlySet<number> = new Set()) {
    for (let run = 0; run < runs; run++) {
      if (finished.has(run)) continue;
      const schedule = drawSchedule(seed, run, roughness);
      this.open[playsAlone(schedule) ? 'alone' : 'together'].push({ run, steps: schedule.steps.length });
    }
    // The longest first, so that none of them is left when all others are done.
    for (const runs of Object.values(this.open)) runs.sort((one, other) => other.steps - one.steps);
  }

  /**
   * The next run for a worker's room, undefined when there is none. One worker plays all that have the service
   * to themselves, for it idles meanwhile: the others go on.
   */
  take(room: Room, worker: number): number | undefined {
    if (room === 'alone' && worker !== 0) return undefined;
    return this.open[room].shift()?.run;
  }
}
