/** The workflow code as one file, which a worker loads into the isolated contexts of its workflows. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { bundleWorkflowCode, DefaultLogger, type WorkflowBundle } from '@temporalio/worker';

const ROOT = join(import.meta.dirname, '../..');
/** Everything that the bundle can be made of: our own code, and the packages as npm has installed them. */
const SOURCES = ['workflows', 'activities', 'src'];
const INSTALLED = join(ROOT, 'node_modules/.package-lock.json');

const WORKFLOWS = join(ROOT, 'workflows/index.ts');
const KEPT = join(ROOT, 'node_modules/.cache/bill-service/workflows.json');

type KeptBundle = { digest: string; code: string };

/**
 * The service's workflow code. Bundling takes a second or two of a core, so the bundle is kept for the next
 * worker of the same code. It is made again when any of our files or an installed package has changed.
 *
 * @param path where it is kept: one file, of the code that was bundled last.
 * @param bundle makes it anew.
 */
export async function loadWorkflowBundle(path = KEPT, bundle = bundleApart): Promise<WorkflowBundle> {
  const digest = await digestOfSources();
  const kept = await readKept(path);
  if (digest !== undefined && kept?.digest === digest) return { code: kept.code };
  const code = await bundle();
  if (digest !== undefined) await keep(path, { digest, code });
  return { code };
}

/** Ten times what it is. */
const MAX_BUNDLE_BYTES = 32 * 1024 * 1024;

/**
 * The same as `bundleWorkflows`, by a process of its own: a worker would keep the memory that webpack takes for good.
 */
export async function bundleApart(workflowsPath = WORKFLOWS): Promise<string> {
  const main = join(import.meta.dirname, 'bundle-main.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [main, workflowsPath], { maxBuffer: MAX_BUNDLE_BYTES });
  return stdout;
}

/** Bundles workflow code, the service's own unless another path is given. */
export async function bundleWorkflows(workflowsPath = WORKFLOWS): Promise<WorkflowBundle> {
  return bundleWorkflowCode({
    workflowsPath,
    workflowInterceptorModules: [join(ROOT, 'workflows/trace.ts')],
    // Webpack's list of modules does not help an operator.
    logger: new DefaultLogger('WARN'),
  });
}

/** Undefined where npm has not installed the packages: nobody can say then what the bundle is made of. */
async function digestOfSources(): Promise<string | undefined> {
  const digest = createHash('sha256');
  try {
    digest.update(await readFile(INSTALLED));
  } catch {
    return undefined;
  }
  for (const folder of SOURCES) {
    const names = await readdir(join(ROOT, folder), { recursive: true });
    const files = names.filter((name) => name.endsWith('.ts')).sort();
    const texts = await Promise.all(files.map((name) => readFile(join(ROOT, folder, name), 'utf8')));
    digest.update(JSON.stringify([folder, files, texts]));
  }
  return digest.digest('hex');
}

async function readKept(path: string): Promise<KeptBundle | undefined> {
  try {
    return JSON.parse(await readFile(path, 'utf8'));
  } catch {
    return undefined;
  }
}

/** Workers that start at once each write a whole file of their own. One that may not write bundles each time. */
async function keep(path: string, bundle: KeptBundle): Promise<void> {
  const draft = `${path}.${process.pid}`;
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(draft, JSON.stringify(bundle));
    await rename(draft, path);
  } catch {
    // A file system that is only read, as in a container.
  }
}
