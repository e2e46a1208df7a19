/** Which runs a worker of the simulation plays, and the command that repeats one of them. */
import { describe, expect, jest, test } from '@jest/globals';
import { drawSchedule } from '../../simulation/draw.ts';
import type { Environment } from '../../simulation/environment.ts';
import { commandFor, commandForRun, type Options, scheduleOf } from '../../simulation/options.ts';
import { playsAlone, type Step } from '../../simulation/schedule.ts';
import { Simulation, type Verdict } from '../../simulation/simulate.ts';

const OPTIONS: Options = {
  seed: 7,
  runs: 25,
  workers: 1,
  run: undefined,
  sideBySide: 4,
  roughness: { disturbEvery: 20, restarts: true },
  shrink: true,
  also: [],
  steps: undefined,
};
const RESTART: Step = { kind: 'disturb', what: 'restart Temporal', afterMs: 1_000 };

/** The runs that one worker plays, in order, when those in `wrong` go wrong. */
async function playedBy(worker: number, workers: number, wrong: number[] = []): Promise<number[]> {
  const simulation = new Simulation({} as Environment);
  jest.spyOn(simulation, 'runOne').mockImplementation(async (title) => {
    const isWrong = wrong.some((run) => title === `s7-r${run}`);
    return { violations: isWrong ? ['made up'] : [] } as unknown as Verdict;
  });
  const played: number[] = [];
  await simulation.runAll({ ...OPTIONS, workers, worker, sideBySide: 1 }, ({ run }) => played.push(run));
  return played;
}

describe('the runs of a plan', () => {
  test.each([1, 2, 3])('are each played by one of %d workers', async (workers) => {
    const shares = await Promise.all(Array.from({ length: workers }, (_, worker) => playedBy(worker, workers)));
    expect(shares.flat().toSorted((a, b) => a - b)).toEqual(Array.from({ length: OPTIONS.runs }, (_, run) => run));
  });

  test('begin with those that have the service to themselves, and come to an end with the first that is wrong', async () => {
    expect(playsAlone(drawSchedule(OPTIONS.seed, 5, OPTIONS.roughness))).toBe(true);
    expect(await playedBy(1, 2, [7, 9])).toEqual([5, 1, 3, 7]);
  });
});

describe('the command', () => {
  const drawn = drawSchedule(OPTIONS.seed, 3, OPTIONS.roughness);

  test('that repeats the whole names its seed and how many there are', () => {
    expect(commandFor({ ...OPTIONS, workers: 2 })).toBe('npm run simulate -- --seed 7 --runs 25');
  });

  test('that repeats a run names what others did to it', () => {
    const lived = { ...drawn, steps: [RESTART, ...drawn.steps] };
    expect(commandForRun(OPTIONS, { run: 3, lived })).toBe('npm run simulate -- --seed 7 --run 3 --also Temporal@1000');
    expect(scheduleOf({ ...OPTIONS, run: 3, also: [RESTART] }, 3)).toEqual(lived);
  });

  test('that repeats its shortest schedule names the steps that are enough, and those of these that still are', () => {
    expect(commandForRun(OPTIONS, { run: 3, lived: drawn, steps: [1, 3] })).toBe('npm run simulate -- --seed 7 --run 3 --steps 1,3');
    const shorter = { ...OPTIONS, run: 3, steps: [1, 3, 4] };
    expect(commandForRun(shorter, { run: 3, lived: scheduleOf(shorter, 3), steps: [2, 3] })).toBe(
      'npm run simulate -- --seed 7 --run 3 --steps 3,4',
    );
  });
});
