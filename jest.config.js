const typescript = {
  testEnvironment: 'node',
  // The copy of this folder that `npm run test:mutants` works in, while it works.
  modulePathIgnorePatterns: ['<rootDir>/.stryker-tmp/'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '\\.ts$': ['@swc/jest', { jsc: { parser: { syntax: 'typescript' }, target: 'es2024' }, module: { type: 'es6' } }],
  },
};

export default {
  // The tests mostly wait, for timers and for other processes: more at once than there are cores.
  maxWorkers: 3,
  projects: [
    {
      ...typescript,
      displayName: 'unit',
      testMatch: ['unit', 'sandbox', 'replay'].map((folder) => `<rootDir>/test/${folder}/**/*.test.ts`),
    },
    {
      ...typescript,
      displayName: 'integration',
      testMatch: ['integration', 'e2e'].map((folder) => `<rootDir>/test/${folder}/**/*.test.ts`),
      globalSetup: '<rootDir>/test/support/global-setup.ts',
      globalTeardown: '<rootDir>/test/support/global-teardown.ts',
    },
    {
      // Minutes of killed workers and cut connections: `npm run test:endurance`.
      ...typescript,
      displayName: 'endurance',
      testMatch: ['<rootDir>/test/endurance/**/*.test.ts'],
      globalSetup: '<rootDir>/test/support/global-setup.ts',
      globalTeardown: '<rootDir>/test/support/global-teardown.ts',
    },
    {
      // Against programs that nobody here wrote, which have to be installed first: `npm run test:litellm`, `npm run test:stripe-mock`.
      ...typescript,
      displayName: 'external',
      testMatch: ['<rootDir>/test/external/**/*.test.ts'],
      globalSetup: '<rootDir>/test/support/global-setup.ts',
      globalTeardown: '<rootDir>/test/support/global-teardown.ts',
    },
  ],
};
