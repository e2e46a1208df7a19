/**
 * `npm run test:callback`: the tests of what LiteLLM loads, in Python, with pytest and httpx from
 * `.data/tools`, where they are put once for each Python and each list of versions. LiteLLM itself is not
 * needed. Options go to pytest.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { lastLines, run } from '../setup/command.mjs';
import { PIPS, pipInstall } from '../setup/pip.mjs';
import { withProgress } from '../setup/progress.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const FOLDER = join(ROOT, 'integrations/litellm');
const REQUIREMENTS = join(FOLDER, 'requirements-test.txt');

/** A few megabytes. */
const PIP_LIMIT_S = 3 * 60;
const PYTHONS = ['python3', 'python'];

const { python, version } = await findPython();
const digest = createHash('sha256').update(readFileSync(REQUIREMENTS)).digest('hex').slice(0, 8);
const packages = join(ROOT, `.data/tools/callback-test-${version}-${digest}`);
if (!existsSync(packages)) await withProgress('Fetching pytest and httpx', fetchPackages());

const { status, error } = spawnSync(
  python,
  // Neither the settings of a project that this clone may be in, nor plug-ins of this machine's Python.
  ['-m', 'pytest', '-c', join(FOLDER, 'pytest.ini'), '-q', ...process.argv.slice(2), FOLDER],
  {
    stdio: 'inherit',
    cwd: FOLDER,
    env: { ...process.env, PYTHONPATH: packages, PYTHONDONTWRITEBYTECODE: '1', PYTEST_DISABLE_PLUGIN_AUTOLOAD: '1', PYTEST_ADDOPTS: '' },
  },
);
if (error) console.error(`${python} could not be run: ${error.message}`);
process.exit(status ?? 1);

async function findPython(): Promise<{ python: string; version: string }> {
  for (const python of PYTHONS) {
    const asked = run(python, ['-c', 'import sys; print("%d.%d" % sys.version_info[:2])'], { limitS: 30 });
    const version = await asked.then((said) => said.trim()).catch(() => '');
    if (version.startsWith('3.')) return { python, version };
  }
  console.error(`There is no Python 3 (${PYTHONS.join(', ')}), which the tests of the callback for LiteLLM need.`);
  process.exit(1);
}

async function fetchPackages(): Promise<void> {
  const failures: string[] = [];
  for (const pip of PIPS) {
    try {
      await pipInstall(pip, packages, ['-r', REQUIREMENTS], PIP_LIMIT_S);
      return;
    } catch (error) {
      const { output, message } = error as Error & { output?: string };
      failures.push(`${pip.join(' ')}: ${lastLines(output || message, 3)}`);
    }
  }
  console.error(`\npytest and httpx could not be installed with pip.\n${failures.join('\n')}`);
  process.exit(1);
}
