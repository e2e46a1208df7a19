import { expect, test } from '@jest/globals';
import { WAITS_FOR_WORKER_MS, workerWait } from '../../../src/cli/worker-wait.ts';

const GONE = ['workers of bill-service: none asks for work'];

test('what waits for a worker says once that there is none, and gives up after a stated time', () => {
  const said: string[] = [];
  const look = workerWait('run sweep/1', (line) => said.push(line));
  look([], 0);
  look(GONE, 1_000);
  look(GONE, 1_000 + WAITS_FOR_WORKER_MS - 1);
  expect(said).toEqual([...GONE, 'waiting 20 s for a worker']);
  expect(() => look(GONE, 1_000 + WAITS_FOR_WORKER_MS)).toThrow(
    'no worker for 20 s: start one (bill worker), and run sweep/1 goes on by itself',
  );
});

test('a worker that comes in time begins the time anew', () => {
  const said: string[] = [];
  const look = workerWait('run sweep/1', (line) => said.push(line));
  look(GONE, 0);
  look([], WAITS_FOR_WORKER_MS - 1);
  expect(() => look(GONE, WAITS_FOR_WORKER_MS)).not.toThrow();
  expect(said).toHaveLength(4);
});
