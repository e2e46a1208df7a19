/** How a check of `bill doctor` reads. */
import { expect, test } from '@jest/globals';
import { runCheck } from '../../../src/cli/doctor/reading.ts';
import { describeDatabaseError, isDatabaseError } from '../../../src/database/errors.ts';

test('a PostgreSQL that cannot be reached is said without sending whoever reads it to bill doctor again', async () => {
  const error = new Error('Connection terminated due to connection timeout');
  expect(isDatabaseError(error)).toBe(true);
  expect(describeDatabaseError(error)).toMatch(/bill doctor checks it$/);
  const { seen } = await runCheck({ area: 'database', check: 'answers' }, () => Promise.reject(error));
  expect(seen).toBe('PostgreSQL cannot be reached (Connection terminated due to connection timeout)');
});
