/**
 * Installs what this clone needs before anything else runs: the packages, Node 24 and the Temporal CLI. The
 * endurance tests and `npm run record:histories` also get the Temporal test server. Most npm scripts run this
 * first. It runs on Node 18 too, uses no package, and takes a few milliseconds when there is nothing to do.
 *
 * --quiet  prints nothing when there is nothing to do
 */

/** The oldest Node that npm and this folder run on. Everything else runs on Node 24. */
const OLDEST_NODE = 18;

if (Number(process.versions.node.split('.')[0]) < OLDEST_NODE) {
  console.error(
    `bill-service needs Node ${OLDEST_NODE} or newer for its setup, and this is ${process.versions.node}: install one from https://nodejs.org`,
  );
  process.exit(1);
}

// Imported only now, because these use features that an older Node does not have.
const { readFileSync } = await import('node:fs');
const { join } = await import('node:path');
const { install, isInstalled, linkBill, ROOT } = await import('./install.mjs');
const { fetchTemporalCli, fetchTestServer } = await import('./fetch-temporal.mjs');
const { withLock } = await import('./lock.mjs');
const { locateTemporalCli, locateTestServer } = await import('./temporal-cli.mjs');

const command = process.env.npm_lifecycle_event;
// Tests start a Temporal server of their own, even when the environment names one.
const needsCli = () => !locateTemporalCli() && (command?.startsWith('test') || !hasOwnTemporal());
const needsTestServer = () => !locateTestServer() && (command === 'test:endurance' || command === 'record:histories');

// Our exit ends the program that we have started. Without it, a signal would leave npm writing into
// node_modules.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1));

try {
  if (!isInstalled() || needsCli() || needsTestServer()) {
    await withLock(async () => {
      // Checked again: another setup may have done it while this one waited.
      if (!isInstalled()) await install();
      if (needsCli()) await fetchTemporalCli();
      if (needsTestServer()) await fetchTestServer();
    });
  }
  linkBill();
  if (!process.argv.includes('--quiet')) console.log('Setup is complete.');
} catch (error) {
  console.error(`\nSetup failed.\n${error.message}`);
  process.exit(1);
}

/** Whether the environment or .env names a Temporal server, so that none is started here. */
function hasOwnTemporal() {
  if (process.env.TEMPORAL_ADDRESS) return true;
  try {
    return /^\s*(export\s+)?TEMPORAL_ADDRESS\s*=\s*\S/m.test(readFileSync(join(ROOT, '.env'), 'utf8'));
  } catch {
    return false; // there is no .env
  }
}
