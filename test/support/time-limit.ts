/** One limit for every test and hook of the integration project: Jest takes `testTimeout` for a whole run only, not for a project. */
import { jest } from '@jest/globals';
import { TEST_TIMEOUT_MS } from './time.ts';

jest.setTimeout(TEST_TIMEOUT_MS);
