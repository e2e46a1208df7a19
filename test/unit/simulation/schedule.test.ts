import { describe, expect, test } from '@jest/globals';
import { drawSchedule } from '../../simulation/draw.ts';
import { playsAlone, type Step } from '../../simulation/schedule.ts';

const ROUGHNESS = { disturbEvery: 60, restarts: false };

function befallsEverybody(step: Step): boolean {
  switch (step.kind) {
    case 'disturb':
    case 'kill the API':
      return true;
    case 'mishap':
      return step.ending === 'dies';
    case 'fault':
      return step.kills === true;
    default:
      return false;
  }
}

describe('a schedule of the simulation', () => {
  test('case 60: depends on nothing but its seed and its run', () => {
    expect(drawSchedule(7, 12, ROUGHNESS)).toEqual(drawSchedule(7, 12, ROUGHNESS));
    expect(drawSchedule(7, 12, ROUGHNESS)).not.toEqual(drawSchedule(7, 13, ROUGHNESS));
    expect(drawSchedule(8, 12, ROUGHNESS)).not.toEqual(drawSchedule(7, 12, ROUGHNESS));
  });

  test('has the same steps in a rough world as in a calm one, and besides what befalls everybody', () => {
    for (let run = 0; run < 100; run++) {
      const calm = drawSchedule(7, run, { disturbEvery: 0, restarts: false });
      const rough = drawSchedule(7, run, { disturbEvery: 1, restarts: true });
      expect(calm.steps.filter(befallsEverybody)).toEqual([]);
      // What such a run does to the service is enough.
      if (playsAlone(rough)) expect(rough.steps.filter(befallsEverybody)).toEqual([]);
      else expect(rough.steps.filter(befallsEverybody)).not.toEqual([]);
      expect({ ...rough, steps: rough.steps.filter((step) => !befallsEverybody(step)) }).toEqual(calm);
    }
  });
});
