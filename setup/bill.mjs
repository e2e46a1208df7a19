#!/usr/bin/env node
/**
 * `npx bill` and `npm run bill`: installs what is missing, then runs a command of the service on our own Node, with the
 * settings of a file `.env` where there is one. Standard output is the command's alone.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { COMPILE_CACHE, NODE_FLAGS } from './our-node.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

const setup = spawnSync(process.execPath, [join(ROOT, 'setup/main.mjs'), '--quiet'], { stdio: ['ignore', 2, 2] });
if (setup.status !== 0) process.exit(setup.status ?? 1);

const windows = process.platform === 'win32';
const node = join(ROOT, 'node_modules/.bin', windows ? 'node.cmd' : 'node');
const envFile = join(ROOT, '.env');
const settings = existsSync(envFile) ? [`--env-file=${envFile}`] : [];
const command = spawn(node, [...NODE_FLAGS, ...settings, join(ROOT, 'src/cli/main.ts'), ...process.argv.slice(2)], {
  stdio: 'inherit',
  shell: windows,
  env: { NODE_COMPILE_CACHE: COMPILE_CACHE, ...process.env },
});

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => command.kill(signal));
command.on('error', (error) => {
  console.error(`bill: ${node} does not run: ${error.message}`);
  process.exit(1);
});
// As a shell says it.
command.on('exit', (code, signal) => process.exit(signal ? 128 + constants.signals[signal] : (code ?? 1)));
