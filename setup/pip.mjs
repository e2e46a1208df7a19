/** Installs PyPI packages into folders of this clone, with any pip that is found. */
import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { run } from './command.mjs';

/** The ways to call pip, in the order to try them. */
export const PIPS = [['python3', '-m', 'pip'], ['python', '-m', 'pip'], ['pip3'], ['pip']];

/**
 * Installs into a folder beside the target, then renames it, so that an incomplete install is never used.
 *
 * @param pip one of PIPS.
 * @param packages arguments of `pip install`.
 * @throws like `run`.
 */
export async function pipInstall([command, ...prefix], target, packages, limitS) {
  const making = `${target}.new`;
  mkdirSync(dirname(target), { recursive: true });
  rmSync(making, { recursive: true, force: true });
  const args = ['install', '--only-binary=:all:', '--target', making, ...packages];
  // Overrides settings for Python environments: the target is a folder of ours.
  const settings = { PIP_USER: '0', PIP_REQUIRE_VIRTUALENV: '0', PIP_ROOT_USER_ACTION: 'ignore', PIP_NO_INPUT: '1' };
  await run(command, [...prefix, ...args], { limitS, env: { ...process.env, ...settings } });
  rmSync(target, { recursive: true, force: true });
  renameSync(making, target);
}
