/** Which runs a worker of the simulation plays, and the command that repeats one of them. */
import { describe, expect, jest, test } from '@jest/globals';
import { drawSchedule } from '../../simulation/draw.ts';
import type { Environment } from '../../simulation/environment.ts';
import { commandFor, commandForRun, type Options, scheduleOf } from '../../simulation/options.ts';
import { Plan, type Room } from '../../simulation/plan.ts';
import { playsAlone, type Step } from '../../simulation/schedule.ts';
import { Simulation, type Verdict } from '../../simulation/simulate.ts';

const OPTIONS: Options = {
  seed: 7,
  runs: 25,
  workers: 1,
  run: undefined,
  record: undefined,
  sideBySide: 4,
  roughness: { disturbEvery: 20, restarts: true },
  shrink: true,
  also: [],
  steps: undefined,
};
const RESTART: Step = { kind: 'disturb', what: 'restart Temporal', afterMs: 1_000 };

/** The runs that each of so many workers plays, in order, when those in `wrong` go wrong. */
async function playedBy(workers: number, wrong: number[] = []): Promise<number[][]> {
  const plan = new Plan(OPTIONS);
  return Promise.all(
    Array.from({ length: workers }, async (_, worker) => {
      const simulation = new Simulation({} as Environment);
      jest.spyOn(simulation, 'runOne').mockImplementation(async (title) => {
        const isWrong = wrong.some((run) => title === `s7-r${run}`);
        return { violations: isWrong ? ['made up'] : [] } as unknown as Verdict;
      });
      const played: number[] = [];
      const next = async (room: Room) => plan.take(room, worker);
      await simulation.runAll({ ...OPTIONS, sideBySide: 1, next }, ({ run }) => played.push(run));
      return played;
    }),
  );
}

const lengthOf = (run: number) => drawSchedule(OPTIONS.seed, run, OPTIONS.roughness).steps.length;

describe('the runs of a plan', () => {
  test.each([1, 2, 3])('are each played by one of %d workers', async (workers) => {
    const played = await playedBy(workers);
    expect(played.flat().toSorted((a, b) => a - b)).toEqual(Array.from({ length: OPTIONS.runs }, (_, run) => run));
  });

  test('begin with those that have the service to themselves, which one worker plays, and then with the longest', async () => {
    expect(playsAlone(drawSchedule(OPTIONS.seed, 5, OPTIONS.roughness))).toBe(true);
    const [[first, ...rest] = [], other = []] = await playedBy(2);
    expect(first).toBe(5);
    for (const runs of [rest, other]) {
      expect(runs.length).toBeGreaterThan(5);
      expect(runs.map(lengthOf)).toEqual(runs.map(lengthOf).toSorted((a, b) => b - a));
    }
  });

  test('come to an end with the first that is wrong', async () => {
    const [played = []] = await playedBy(1);
    expect(await playedBy(1, played.slice(3, 4))).toEqual([played.slice(0, 4)]);
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
