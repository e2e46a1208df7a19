/**
 * Jest's runtime, with modules loaded by Node itself, once in a process. Jest's own loads and compiles all of the
 * service and of its packages again for each test file: a fifth of the processor time of the integration tests.
 *
 * A file that changes what others use too, for good, says `@jest-environment node` in its first comment, and gets
 * modules of its own, as Jest loads them.
 */
import { createRequire, registerHooks } from 'node:module';
import { pathToFileURL } from 'node:url';
import Runtime from 'jest-runtime';

const require = createRequire(import.meta.url);

/** Where jest-circus collects who listens to its events. A new copy adds itself to those of the copy before. */
const CIRCUS_HANDLERS = Symbol.for('EVENT_HANDLERS');

/** What `@jest/globals` holds for the file that runs. */
const NOW = Symbol.for('bill-service.jest-globals');
const NAMES = ['afterAll', 'afterEach', 'beforeAll', 'beforeEach', 'describe', 'expect', 'it', 'jest', 'test'];
const URL_OF_GLOBALS = 'jest:globals';

/** Support that an earlier file has imported speaks to the file that runs now. */
const GLOBALS = `
  const now = () => globalThis[Symbol.for('${NOW.description}')];
  const global = (name) =>
    new Proxy(() => {}, { apply: (_target, _self, args) => now()[name](...args), get: (_target, key) => now()[name][key] });
  ${NAMES.map((name) => `export const ${name} = global('${name}');`).join('\n')}
`;

registerHooks({
  resolve: (specifier, context, next) =>
    specifier === '@jest/globals' ? { url: URL_OF_GLOBALS, shortCircuit: true } : next(specifier, context),
  load: (url, context, next) => (url === URL_OF_GLOBALS ? { source: GLOBALS, format: 'module', shortCircuit: true } : next(url, context)),
});

/** How often each file has been imported: set-up runs again for each test file, and so do watched tests. */
const imports = new Map();

export default class LoadedOnce extends Runtime {
  /** Not `#isShared`: Jest's constructor asks already. */
  get isShared() {
    return this._environment.global === globalThis;
  }

  /** Jest would have `process` give what the file's context holds. */
  installGetBuiltinModule() {
    if (!this.isShared) super.installGetBuiltinModule();
  }

  async unstable_importModule(from, name) {
    if (!this.isShared) return super.unstable_importModule(from, name);
    const before = imports.get(from) ?? 0;
    imports.set(from, before + 1);
    return import(`${pathToFileURL(from)}${before > 0 ? `?again=${before}` : ''}`);
  }

  requireModule(from, ...more) {
    return this.isShared ? require(from) : super.requireModule(from, ...more);
  }

  /** jest-circus, anew for each file, with the state of that file's tests. */
  requireInternalModule(from, to) {
    if (!this.isShared) return super.requireInternalModule(from, to);
    delete require.cache[from];
    delete globalThis[CIRCUS_HANDLERS];
    return require(from);
  }

  setGlobalsForRuntime(globals) {
    super.setGlobalsForRuntime(globals);
    if (this.isShared) globalThis[NOW] = this.jestGlobals.cjsGlobals(this._testPath);
  }
}
