import { expect, test } from '@jest/globals';
import { UNDECIDED_AFTER_MS, undecidedEvent } from '../../../src/domain/overdue.ts';

test('an event on which nothing could be decided for a quarter of an hour is told, with what it is about and what to do', () => {
  expect(UNDECIDED_AFTER_MS).toBe(900_000);
  expect(undecidedEvent({ eventId: 'evt_1', teamId: 'team-1' })).toEqual({
    kind: 'event_undecided',
    subject: 'evt_1',
    seen: 'the event has been open for 15 minutes, and team team-1 is neither charged nor refused',
    expected: 'a recharge, or an outcome',
    action: expect.stringMatching(/^bill doctor says whether LiteLLM answers/),
  });
});
