/** What a process loads that serves: each module costs memory for as long as it runs. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { NODE_FLAGS } from '../../setup/our-node.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

const SERVING = `await import('${ROOT}src/api.ts'); await import('${ROOT}src/worker.ts')`;

/** Loads the API and the worker, and prints the address of every module that this takes. */
const LOADING = `
  import { registerHooks } from 'node:module';
  const loaded = [];
  registerHooks({ load: (url, context, next) => { loaded.push(url); return next(url, context); } });
  ${SERVING};
  console.log(JSON.stringify(loaded));
`;

let loaded: string[];
beforeAll(() => {
  loaded = JSON.parse(execFileSync(process.execPath, ['--input-type=module', '--eval', LOADING], { encoding: 'utf8' }));
}, 120_000);

test('neither the API nor a worker loads a migration, or what applies them', () => {
  expect(loaded).toContainEqual(expect.stringContaining('/src/worker.ts'));
  expect(loaded.filter((url) => /@mikro-orm\/migrations|\/src\/database\/migrat/.test(url))).toEqual([]);
});

test('neither loads the bundler: of webpack only its index, which loads the rest when it is asked', () => {
  const ofWebpack = loaded.filter((url) => url.includes('/node_modules/webpack/'));
  expect(ofWebpack.filter((url) => !/webpack\/lib\/(index|util\/memoize)\.js$/.test(url))).toEqual([]);
  expect(loaded.filter((url) => /node_modules\/(@swc|terser|swc-loader)\//.test(url))).toEqual([]);
});

test('the image starts Node with the same flags as the command line, and compiles what it serves before', () => {
  const image = readFileSync(`${ROOT}Dockerfile`, 'utf8');
  expect(image).toContain(`NODE_OPTIONS=${NODE_FLAGS.join(' ')}\n`);
  expect(image).toMatch(/^ENV NODE_COMPILE_CACHE=\/app\/compiled$/m);
});

test('neither loads a compiler of TypeScript where an earlier start has compiled it', () => {
  const directory = mkdtempSync(join(tmpdir(), 'bill-compiled-'));
  const externalMemory = () =>
    Number(
      execFileSync(process.execPath, ['--eval', `${SERVING}; console.log(process.memoryUsage().external)`], {
        encoding: 'utf8',
        env: { ...process.env, NODE_COMPILE_CACHE: directory },
      }),
    );
  const [first, second] = [externalMemory(), externalMemory()];
  rmSync(directory, { recursive: true });
  // The compiler is a WebAssembly module of 6 MiB.
  expect(first - second).toBeGreaterThan(4 * 2 ** 20);
});

describe('the young generation', () => {
  /** Prints the size of it in MiB, at the places where the code says `young()`. */
  const measured = (code: string): number[] =>
    JSON.parse(
      execFileSync(
        process.execPath,
        [
          ...NODE_FLAGS,
          '--input-type=module',
          '--eval',
          `import v8 from 'node:v8';
           const { collectStartGarbage, keepThreadsSmall } = await import('${ROOT}src/young-generation.ts');
           const young = () => v8.getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space').space_size / 2 ** 20;
           ${code}`,
        ],
        { encoding: 'utf8' },
      ),
    );

  test('is small again after a start', () => {
    const [before, after] = measured(`${SERVING};
      const before = young();
      collectStartGarbage();
      console.log(JSON.stringify([before, young()]));`);
    expect(before).toBeGreaterThan(8);
    expect(after).toBeLessThan(4);
  });

  test('of a thread that runs workflow code stays small, of the first thread it grows', () => {
    const churn = 'for (let n = 0, kept = []; n < 2e6; n++) if (kept.push([n]) > 1e5) kept = [];';
    const inThread = `
      const v8 = process.getBuiltinModule('node:v8');
      ${churn}
      const { space_size } = v8.getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space');
      process.getBuiltinModule('node:worker_threads').parentPort.postMessage(space_size / 2 ** 20);`;
    const [thread, first] = measured(`
      import { Worker } from 'node:worker_threads';
      keepThreadsSmall();
      ${churn}
      const thread = new Worker(${JSON.stringify(inThread)}, { eval: true });
      thread.on('message', (size) => console.log(JSON.stringify([size, young()])));`);
    expect(thread).toBeLessThanOrEqual(8);
    expect(first).toBeGreaterThan(16);
  });
});
