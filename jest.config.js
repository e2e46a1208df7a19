const MINUTE_MS = 60_000;

const typescript = {
  testEnvironment: 'node',
  // The copy of this folder that `npm run test:mutants` works in, while it works.
  modulePathIgnorePatterns: ['<rootDir>/.stryker-tmp/'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '\\.ts$': ['@swc/jest', { jsc: { parser: { syntax: 'typescript' }, target: 'es2024' }, module: { type: 'es6' } }],
  },
};

/**
 * The default limit of one test or hook in a project. It only ends what hangs: it is many times what a test
 * takes on an idle machine. Jest reads `testTimeout` for all projects together, so a setup file sets it.
 */
const limited = (ms) => ({ globals: { TEST_LIMIT_MS: ms }, setupFilesAfterEnv: ['<rootDir>/test/limit.ts'] });

/** A real PostgreSQL and a real Temporal that all tests of a project share. */
const withServers = {
  globalSetup: '<rootDir>/test/support/global-setup.ts',
  globalTeardown: '<rootDir>/test/support/global-teardown.ts',
};

/**
 * The service and its packages are loaded once in a process, and not for each file: for tests that leave nothing
 * behind in a module, as those of the whole service do.
 */
const loadedOnce = {
  runtime: '<rootDir>/test/loaded-once/runtime.js',
  testEnvironment: '<rootDir>/test/loaded-once/environment.js',
};

export default {
  // The tests mostly wait, for timers and for other processes: more at once than there are cores.
  maxWorkers: 5,
  testSequencer: '<rootDir>/test/sequencer.js',
  projects: [
    {
      ...typescript,
      // Some start PostgreSQL and Temporal, some bundle the workflows: seconds.
      ...limited(3 * MINUTE_MS),
      displayName: 'unit',
      testMatch: ['unit', 'sandbox', 'replay'].map((folder) => `<rootDir>/test/${folder}/**/*.test.ts`),
    },
    {
      ...typescript,
      ...loadedOnce,
      ...withServers,
      // Longer than a wait for one thing, which then is what a failed test reports.
      ...limited(5 * MINUTE_MS),
      displayName: 'integration',
      testMatch: ['integration', 'e2e'].map((folder) => `<rootDir>/test/${folder}/**/*.test.ts`),
    },
    {
      // Minutes of killed workers, cut connections, hangs, and servers of their own: `npm run test:endurance`.
      ...typescript,
      ...withServers,
      ...limited(5 * MINUTE_MS),
      displayName: 'endurance',
      testMatch: ['<rootDir>/test/endurance/**/*.test.ts'],
    },
    {
      // Against programs that nobody here wrote, which have to be installed first: `npm run test:litellm`,
      // `npm run test:stripe-mock`.
      ...typescript,
      ...withServers,
      ...limited(6 * MINUTE_MS),
      displayName: 'external',
      testMatch: ['<rootDir>/test/external/**/*.test.ts'],
    },
  ],
};
