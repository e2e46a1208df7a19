/**
 * Brings what this clone needs before anything else runs: the packages, Node 24 and the Temporal CLI, and for `npm test` the
 * Temporal test server. Run by `npm start`, `npm test` and `npm run bill`. It may itself run on an older Node, uses no package, and takes a few milliseconds when
 * there is nothing to do.
 *
 * --quiet  prints nothing when there is nothing to do
 */

/** The oldest Node that npm and this folder run on; everything else runs on the Node 24 that is installed here. */
const OLDEST_NODE = 18;

if (Number(process.versions.node.split('.')[0]) < OLDEST_NODE) {
  console.error(
    `bill-service needs Node ${OLDEST_NODE} or newer to set itself up, and this is ${process.versions.node}: install one from https://nodejs.org`,
  );
  process.exit(1);
}

// Only now, as an older Node may not know what these use.
const { readFileSync } = await import('node:fs');
const { join } = await import('node:path');
const { install, isInstalled, ROOT } = await import('./install.mjs');
const { fetchTemporalCli, fetchTestServer } = await import('./fetch-temporal.mjs');
const { withLock } = await import('./lock.mjs');
const { locateTemporalCli, locateTestServer } = await import('./temporal-cli.mjs');

const command = process.env.npm_lifecycle_event;
const needsCli = () => !locateTemporalCli() && (command?.startsWith('test') || !hasOwnTemporal());
const needsTestServer = () => !locateTestServer() && (command === 'test:endurance' || command === 'record:histories');

// An exit ends the program that works for us; a signal alone would leave npm writing into node_modules.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1));

try {
  if (!isInstalled() || needsCli() || needsTestServer()) {
    await withLock(async () => {
      // Asked again: another setup may have done it while this one waited.
      if (!isInstalled()) await install();
      if (needsCli()) await fetchTemporalCli();
      if (needsTestServer()) await fetchTestServer();
    });
  }
  if (!process.argv.includes('--quiet')) console.log('Set up: packages, Node 24 and the Temporal CLI are here.');
} catch (error) {
  console.error(`\nSetup failed.\n${error.message}`);
  process.exit(1);
}

/** Whether a Temporal server is named, in the environment or in .env, so that none is started here. Tests start their own. */
function hasOwnTemporal() {
  if (process.env.TEMPORAL_ADDRESS) return true;
  try {
    return /^\s*(export\s+)?TEMPORAL_ADDRESS\s*=\s*\S/m.test(readFileSync(join(ROOT, '.env'), 'utf8'));
  } catch {
    return false; // there is no .env
  }
}
