import { expect, test } from '@jest/globals';
import { createLogger } from '../../../src/observability/log.ts';

function lineOf(fields: Record<string, unknown>): Record<string, unknown> {
  const lines: string[] = [];
  createLogger('info', { write: (line: string) => void lines.push(line) }).info(fields, 'something has happened');
  return JSON.parse(lines[0] ?? '');
}

test('a line has the fields that it may have', () => {
  const line = lineOf({ event_id: 'evt_1', outcome: 'succeeded', seconds: 1.5, task_queues: ['a', 'b'] });
  expect(line).toMatchObject({
    msg: 'something has happened',
    event_id: 'evt_1',
    outcome: 'succeeded',
    seconds: 1.5,
    task_queues: ['a', 'b'],
  });
});

test('a field that nobody has allowed is hidden, and named', () => {
  expect(lineOf({ event_id: 'evt_1', authorization: 'Bearer sk-secret', token: 'sk-secret' })).toMatchObject({
    event_id: 'evt_1',
    authorization: '[hidden]',
    token: '[hidden]',
  });
});

test('one that is hidden in another is hidden too', () => {
  expect(JSON.stringify(lineOf({ detail: { headers: { authorization: 'sk-secret' } } }))).not.toContain('sk-secret');
  expect(JSON.stringify(lineOf({ ids: [{ secret: 'sk-secret' }] }))).not.toContain('sk-secret');
});

test('of an error only its name is said: it may hold the request that has failed', () => {
  const error = Object.assign(new TypeError('Bearer sk-secret'), { config: { headers: { Authorization: 'sk-secret' } } });
  expect(lineOf({ error })).toMatchObject({ error: 'TypeError' });
  const nothing = lineOf({ error });
  expect(JSON.stringify(nothing)).not.toContain('sk-secret');
});
