/**
 * The order of test files: the slowest first, for a machine that has not run them yet and cannot know, so
 * that none is left for the end.
 */
import Sequencer from '@jest/test-sequencer';

/**
 * Processes that are killed; outages that last; a whole service; servers that are started for single tests.
 * All others take seconds.
 */
const SLOW = ['/test/e2e/', '/integration/stripe-faults', '/integration/database-faults', '/test/integration/', '/test/replay/'];

const rank = ({ path }) => {
  const position = SLOW.findIndex((part) => path.includes(part));
  return position === -1 ? SLOW.length : position;
};

export default class SlowestFirst extends Sequencer {
  sort(tests) {
    return [...super.sort(tests)].sort((one, other) => rank(one) - rank(other));
  }
}
