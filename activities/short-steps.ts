/**
 * Short steps are tried within the workflow task in good times only. While something is slow such an attempt is given
 * up after two seconds and made again as an activity: it would be twice the work just when there is too much of it,
 * and hold up the workflow task of its run, and those behind it.
 */
import { ApplicationFailure, type Context } from '@temporalio/activity';
import type { ActivityInterceptors } from '@temporalio/worker';
import { FAILURE } from '../src/domain/failures.ts';

/** About as many as find a connection at once; each beyond would wait for one of these. A worker begins fewer by itself. */
const MAX_AT_ONCE = 20;
/** A healthy one takes some 30 ms, on a starved machine ten times that; one of two seconds is given up. */
const SLOW_MS = 1_000;
/** After a slow one, none is tried for so long. */
const PAUSE_MS = 10_000;

export class ShortSteps {
  private underWay = 0;
  private pausedUntil = 0;
  private readonly now: () => number;

  /** @param now a monotonic clock in milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.now = now;
  }

  /** @throws a failure at once, before anything is done, when it is no good time; the step's own error. */
  async take<Result>(step: () => Promise<Result>): Promise<Result> {
    const started = this.now();
    if (this.underWay >= MAX_AT_ONCE || started < this.pausedUntil) {
      throw ApplicationFailure.nonRetryable('short steps are slow at the moment: it goes on as an activity', FAILURE.noGoodTime);
    }
    this.underWay++;
    try {
      return await step();
    } finally {
      this.underWay--;
      if (this.now() - started > SLOW_MS) this.pausedUntil = this.now() + PAUSE_MS;
    }
  }
}

/** For `Worker.create`, innermost: lets local activities through as it is time for them, and all others. */
export function takeShortSteps(shortSteps: ShortSteps) {
  return ({ info }: Context): ActivityInterceptors => ({
    inbound: {
      execute: (input, next) => (info.isLocal ? shortSteps.take(() => next(input)) : next(input)),
    },
  });
}
