import { expect, test } from '@jest/globals';
import { ApplicationFailure } from '@temporalio/common';
import { loggable } from '../../../src/temporal/worker.ts';

test('the log line of a failed activity names our failure and its reason', () => {
  const error = ApplicationFailure.retryable('LiteLLM answered 403: no', 'KmsForbidden');
  expect(loggable({ activityType: 'checkLimits', attempt: 3, error })).toEqual({
    activityType: 'checkLimits',
    attempt: 3,
    failure: 'KmsForbidden',
    reason: 'LiteLLM answered 403: no',
  });
});

test('of any other error only the name is logged: its message may repeat a secret', () => {
  const error = new TypeError('Authorization: Bearer sk-secret');
  expect(loggable({ attempt: 1, error })).toEqual({ attempt: 1, failure: 'TypeError' });
  expect(loggable({ attempt: 1 })).toEqual({ attempt: 1 });
  expect(loggable(undefined)).toEqual({});
});
