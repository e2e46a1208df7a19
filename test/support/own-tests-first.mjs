/**
 * The order in which Jest runs the rules' tests while Stryker has planted a mistake: the tests of the
 * mistaken file come first. Most mistakes are noticed there, and the run ends with the first failure: that
 * halves the time. What is noticed stays the same.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

const RULES = 'src/domain';

/**
 * In Stryker's copy every mistake is in the code already, switched by its number. This is the number that is
 * on.
 */
const mistake = process.env['__STRYKER_ACTIVE_MUTANT__'];

const mistaken = readdirSync(RULES, { recursive: true }).find(
  (file) => mistake && file.endsWith('.ts') && readFileSync(join(RULES, file), 'utf8').includes(`stryMutAct_9fa48("${mistake}")`),
);
const rule = mistaken && basename(mistaken, '.ts');
/** `reversal.test.ts` and `reversal-histories.test.ts` are of `reversal.ts`. */
const isOwn = ({ path }) => basename(path).startsWith(`${rule}.`) || basename(path).startsWith(`${rule}-`);

export default class OwnTestsFirst {
  sort(tests) {
    return tests.toSorted((a, b) => Number(isOwn(b)) - Number(isOwn(a)));
  }

  /** Jest hands over how long each file took. Nothing here depends on it. */
  cacheResults() {}
}
