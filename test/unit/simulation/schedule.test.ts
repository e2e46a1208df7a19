import { describe, expect, test } from '@jest/globals';
import { drawSchedule, describe as inWords } from '../../simulation/schedule.ts';

const ROUGHNESS = { disturbEvery: 60, restarts: false };

describe('a schedule of the simulation', () => {
  test('depends on nothing but its seed and its run', () => {
    expect(drawSchedule(7, 12, ROUGHNESS)).toEqual(drawSchedule(7, 12, ROUGHNESS));
    expect(drawSchedule(7, 12, ROUGHNESS)).not.toEqual(drawSchedule(7, 13, ROUGHNESS));
    expect(drawSchedule(8, 12, ROUGHNESS)).not.toEqual(drawSchedule(7, 12, ROUGHNESS));
  });

  test('has the same steps in a rough world as in a calm one, but for what befalls everybody', () => {
    for (let run = 0; run < 100; run++) {
      const calm = drawSchedule(7, run, { disturbEvery: 0, restarts: false }).steps.map(inWords);
      const rough = drawSchedule(7, run, { disturbEvery: 1, restarts: true }).steps.map(inWords);
      expect(rough.length).toBeGreaterThan(calm.length);
      expect(rough.filter((words) => calm.includes(words)).length).toBeGreaterThanOrEqual(calm.length);
    }
  });
});
