/**
 * What every activity has in common: it heartbeats while it works, and fails only with our stable failure
 * types.
 */
import type { Context } from '@temporalio/activity';
import type { ActivityInterceptors } from '@temporalio/worker';
import { toApplicationFailure } from './failures.ts';

/**
 * A third of the `heartbeatTimeout` beside the workflows' proxies: a dead worker is noticed when three are
 * missing.
 */
const HEARTBEAT_MS = 2_000;

/** For `Worker.create`: one for each activity attempt. */
export function superviseActivity(context: Context): ActivityInterceptors {
  return {
    inbound: {
      async execute(input, next) {
        const heartbeat = setInterval(() => context.heartbeat(), HEARTBEAT_MS);
        try {
          return await next(input);
        } catch (error) {
          throw toApplicationFailure(error);
        } finally {
          clearInterval(heartbeat);
        }
      },
    },
  };
}
