/**
 * What every activity has in common: it heartbeats while it works, fails only with our stable failure types, and
 * its log lines name what it works on.
 */
import { CancelledFailure, type Context } from '@temporalio/activity';
import type { ActivityInterceptors } from '@temporalio/worker';
import { toApplicationFailure } from './failures.ts';

/**
 * A quarter of the `heartbeatTimeout` beside the workflows' proxies: three may be late or lost. The worker has to send
 * each (`maxHeartbeatThrottleInterval`): by itself the SDK keeps them back for 80 % of that time.
 */
export const HEARTBEAT_MS = 5_000;

/** For `Worker.create`: one for each activity attempt. */
export function superviseActivity(context: Context): ActivityInterceptors {
  let subject: Record<string, unknown> = {};
  return {
    outbound: {
      getLogAttributes: (attributes, next) => next({ ...attributes, ...subject }),
    },
    inbound: {
      async execute(input, next) {
        subject = subjectOf(input.args[0]);
        // Nobody waits for those of a local activity: the workflow task does.
        const heartbeat = context.info.isLocal ? undefined : setInterval(() => context.heartbeat(), HEARTBEAT_MS);
        try {
          return await next(input);
        } catch (error) {
          // Of a run that is cancelled, or a worker that is shut down: Temporal tells it from a failure.
          throw error instanceof CancelledFailure ? error : toApplicationFailure(error);
        } finally {
          clearInterval(heartbeat);
        }
      },
    },
  };
}

/** The ids by which an operator asks for what an activity works on. */
function subjectOf(input: unknown): Record<string, unknown> {
  const { eventId, rechargeId, reversalId } = (input ?? {}) as Record<string, unknown>;
  return {
    ...(eventId !== undefined && { eventId }),
    ...(rechargeId !== undefined && { rechargeId }),
    ...(reversalId !== undefined && { reversalId }),
  };
}
