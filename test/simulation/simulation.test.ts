/** Hundreds of seeded runs of the whole service, its processes killed now and then; `npm run simulate` plays thousands more. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createDatabase } from '../support/databases.ts';
import { TEMPLATE_DATABASE } from '../support/global-setup.ts';
import { Environment } from './environment.ts';
import { describeViolation } from './report.ts';
import { drawSchedule, describe as inWords } from './schedule.ts';
import { Simulation } from './simulate.ts';

const SEED = 2026;
const RUNS = 200;
/** Under way at a time, beside the other tests. */
const SIDE_BY_SIDE = 24;
const ROUGHNESS = { disturbEvery: 60, restarts: false };

describe('a schedule', () => {
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

describe('case 60: seeded schedules of mixed faults', () => {
  let environment: Environment;
  beforeAll(async () => {
    const databaseUrl = await createDatabase(`simulation_${randomBytes(6).toString('hex')}`, TEMPLATE_DATABASE);
    environment = await Environment.open({ databaseUrl, temporalAddress: process.env['TEST_TEMPORAL_ADDRESS'] ?? '' });
  }, 60_000);
  afterAll(() => environment?.close());

  test(`${RUNS} of them end with every cent granted, refunded, or with a person`, async () => {
    const wrong: string[] = [];
    let runs = 0;
    const simulation = new Simulation(environment);
    const described: Promise<void>[] = [];
    await simulation.runAll({ seed: SEED, runs: RUNS, sideBySide: SIDE_BY_SIDE, roughness: ROUGHNESS }, (verdict) => {
      runs++;
      if (verdict.violations.length === 0) return;
      const command = `npm run simulate -- --seed ${SEED} --run ${verdict.run} --disturb-every ${ROUGHNESS.disturbEvery}`;
      described.push(describeViolation(environment, verdict, command).then((text) => void wrong.push(text)));
    });
    await Promise.all(described);
    expect(wrong).toEqual([]);
    expect(environment.crashes).toEqual([]);
    expect(runs).toBe(RUNS);
  }, 600_000);
});
