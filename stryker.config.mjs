/**
 * Mutation testing: small mistakes are planted in the rules one at a time, and a test of the rules has to
 * fail for each. `npm run test:mutants`; docs/decisions/mutation-testing.md says more.
 */

// The rules' own tests, nothing else: every mistake is one run of them. In one process: starting workers
// takes longer than the tests.
const TESTS = [
  'node_modules/.bin/node --experimental-vm-modules --disable-warning=ExperimentalWarning node_modules/jest/bin/jest.js',
  '--selectProjects unit --testPathPatterns unit/domain --runInBand --bail --silent --testSequencer ./test/support/own-tests-first.mjs',
].join(' ');

/** @type {import('@stryker-mutator/api/core').PartialStrykerOptions} */
export default {
  // The whole folder, so that a new rule counts from its first day.
  mutate: ['src/domain/**/*.ts'],
  // A process for each mistake: constants are made anew, an endless loop can be killed, and nothing leaks
  // into the next run.
  testRunner: 'command',
  commandRunner: { command: TESTS },
  // A command says only whether all tests pass, so which test covers what is unknown.
  coverageAnalysis: 'off',
  concurrency: 2,
  // A planted endless loop is cut off this much after the time that the tests take without a mistake.
  // Generous: a slow run on a busy machine must not count as noticed.
  timeoutMS: 20_000,
  timeoutFactor: 3,
  // Mistakes are planted in a copy: nothing in this folder changes, however the run ends.
  inPlace: false,
  tempDirName: '.stryker-tmp',
  cleanTempDir: 'always',
  // Not needed in the copy. Stryker would rewrite tsconfig.json with the compiler API, which TypeScript 7
  // does not have.
  ignorePatterns: ['.ci', '.data', 'coverage', 'deploy', 'docs', 'sandbox', 'tsconfig.json', 'test/replay/histories'],
  // Lines one below the other: also readable in a log.
  reporters: ['progress-append-only', 'clear-text'],
  clearTextReporter: { allowEmojis: false, reportTests: false },
  // The rest is for a new rule whose tests follow. What no test can notice is marked beside the code.
  thresholds: { high: 100, low: 98, break: 98 },
};
