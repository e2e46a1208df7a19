/** Sets the project's default limit for one test or hook, which `jest.config.js` names. */
import { jest } from '@jest/globals';

declare global {
  var TEST_LIMIT_MS: number;
}

jest.setTimeout(TEST_LIMIT_MS);
