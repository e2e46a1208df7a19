/** The record that a long simulation is continued from. */
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { codeState } from '../../simulation/code-state.ts';
import { Plan } from '../../simulation/plan.ts';
import { type RecordOf, RunRecord } from '../../simulation/record.ts';
import { type Summary, Totals } from '../../simulation/report.ts';

const OF: RecordOf = { seed: 7, disturbEvery: 20, code: { hash: 'a', name: 'commit 1234567' } };
const PASSED = { counts: { kills: 1, restarts: 0, sweeps: 2, reconciliations: 0, synchronisations: 3 }, ms: 1_500 };

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'record-'));
  path = join(folder, 'runs.jsonl');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function summaryOf(run: number, violations: string[] = []): Summary {
  return { run, violations, tally: new Map([['reset', 2]]), outcomes: ['succeeded', null], recharges: 1, charges: 1, holds: ['operator'] };
}

/** A record of these runs. */
function recorded(...runs: number[]): RunRecord {
  const record = RunRecord.open(path, OF);
  for (const run of runs) record.add(summaryOf(run), PASSED);
  return RunRecord.open(path, OF);
}

const finishedIn = ({ finished }: RunRecord) => finished.map(({ run }) => run);

describe('a record', () => {
  test('has nothing at first, then each run as it was added', () => {
    expect(RunRecord.open(path, OF).finished).toEqual([]);
    expect(recorded(3, 5).finished).toEqual([
      { ...summaryOf(3), ...PASSED },
      { ...summaryOf(5), ...PASSED },
    ]);
  });

  test('keeps a run that was wrong', () => {
    RunRecord.open(path, OF).add(summaryOf(4, ['charged twice']), PASSED);
    expect(RunRecord.open(path, OF).finished).toMatchObject([{ run: 4, violations: ['charged twice'] }]);
  });

  test('leaves to the plan the runs that it does not have', () => {
    const plan = new Plan({ seed: 7, runs: 12, roughness: { disturbEvery: 20, restarts: true } }, new Set(finishedIn(recorded(0, 3, 5))));
    const left: number[] = [];
    for (const room of ['alone', 'together'] as const)
      for (let run = plan.take(room, 0); run !== undefined; run = plan.take(room, 0)) left.push(run);
    expect(left.toSorted((a, b) => a - b)).toEqual([1, 2, 4, 6, 7, 8, 9, 10, 11]);
  });

  test('counts in the totals as if all had been played at once', () => {
    const totals = new Totals();
    for (const summary of recorded(1, 2).finished) totals.add(summary);
    totals.add(summaryOf(3));
    expect(totals.progress(PASSED.counts, 10, { played: 1, seconds: 60 })).toBe(
      '3 of 10 runs, 0.0 a second, 7 min left; 6 faults, 1 kills, 0 restarts, 0 violations',
    );
  });
});

describe('a last line that was not written to its end', () => {
  test.each(['{"run":9,"viol', '{"run":9}'])('is removed, and its run is played again: %s', (torn) => {
    recorded(3, 5);
    const whole = readFileSync(path, 'utf8');
    appendFileSync(path, torn);
    expect(finishedIn(RunRecord.open(path, OF))).toEqual([3, 5]);
    expect(readFileSync(path, 'utf8')).toBe(whole);
    expect(finishedIn(recorded(9))).toEqual([3, 5, 9]);
  });

  test('may be the first one', () => {
    writeFileSync(path, '{"seed":7,"dist');
    expect(finishedIn(recorded(1))).toEqual([1]);
  });
});

describe('is refused', () => {
  test.each([
    ['another seed', { ...OF, seed: 8 }, 'is a record of seed 7, not 8'],
    ['other disturbances', { ...OF, disturbEvery: 60 }, 'is a record of --disturb-every 20, not 60'],
    [
      'another state of the code',
      { ...OF, code: { hash: 'b', name: 'commit 1234567 with changes' } },
      'is a record of the code of commit 1234567, not commit 1234567 with changes',
    ],
  ])('a record of %s', (_, of, problem) => {
    recorded(3);
    expect(() => RunRecord.open(path, of)).toThrow(problem);
    expect(finishedIn(RunRecord.open(path, OF))).toEqual([3]);
  });

  test('a file that is no record', () => {
    writeFileSync(path, 'run 3 was fine\n');
    expect(() => RunRecord.open(path, OF)).toThrow('line 1 of');
    expect(readFileSync(path, 'utf8')).toBe('run 3 was fine\n');
  });
});

test('the state of the code is another after a change of what a run uses, and the same after one of a command', () => {
  const root = mkdtempSync(join(tmpdir(), 'bill-code-'));
  const change = (file: string) => {
    mkdirSync(join(root, dirname(file)), { recursive: true });
    appendFileSync(join(root, file), '// changed\n');
  };
  const counts = (file: string) => {
    const { hash } = codeState(`${root}/`);
    change(file);
    return codeState(`${root}/`).hash !== hash;
  };
  try {
    for (const folder of ['src', 'src/cli/commands', 'workflows', 'activities', 'sandbox', 'test/simulation', 'test/support'])
      change(`${folder}/some.ts`);
    change('package-lock.json');
    const files = [
      'src/some.ts',
      'src/cli/some.ts',
      'src/cli/commands/some.ts',
      'workflows/some.ts',
      'sandbox/some.ts',
      'package-lock.json',
      'README.md',
    ];
    expect(files.filter(counts)).toEqual(['src/some.ts', 'src/cli/some.ts', 'workflows/some.ts', 'sandbox/some.ts', 'package-lock.json']);
  } finally {
    rmSync(root, { recursive: true });
  }
});

test('the state of the code is the same each time, and is named by its commit', () => {
  const root = fileURLToPath(new URL('../../../', import.meta.url));
  const state = codeState(root);
  expect(state).toEqual(codeState(root));
  expect(state).toEqual({
    hash: expect.stringMatching(/^[0-9a-f]{64}$/),
    name: expect.stringMatching(/^(commit \w+( with changes)?|no commit)$/),
  });
});
