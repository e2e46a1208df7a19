/** A key that Stripe or LiteLLM refuses holds the service: nobody else is tried with it, and somebody is told. */
import { ApplicationFailure, type Context } from '@temporalio/activity';
import type { ActivityInterceptors } from '@temporalio/worker';
import type { Database } from '../src/database/database.ts';
import * as holds from '../src/database/holds.ts';
import { FAILURE } from '../src/domain/failures.ts';
import type { Logger } from '../src/observability/log.ts';

/** A charge and its quota need these. What else a key may not do is no reason to charge nobody. */
const MONEY_STEPS: readonly string[] = ['checkLimits', 'chargeStripe', 'updateKmsQuota', 'refundCharge'];

type RefusedKey = {
  /** Whose key it is. */
  subject: 'stripe' | 'litellm';
  advice: string;
  /** Refused for every call, so whatever step has met it tells of all. */
  isForAll?: true;
};

const REFUSED_KEYS: Readonly<Record<string, RefusedKey>> = {
  [FAILURE.stripeKeyRefused]: {
    subject: 'stripe',
    advice: 'have Stripe take the key again, or set STRIPE_SECRET_KEY to another and start the processes with it',
  },
  [FAILURE.kmsUnauthenticated]: {
    subject: 'litellm',
    advice: 'have LiteLLM take the key again, or set KMS_API_KEY to another and start the processes with it',
    isForAll: true,
  },
  [FAILURE.kmsForbidden]: { subject: 'litellm', advice: 'give the user that KMS_API_KEY belongs to the role proxy_admin' },
};

/**
 * LiteLLM answers 401 also while its database is unavailable. Attempts within seconds of each other fail for
 * that; the third in a row is some seconds later.
 */
const ATTEMPTS_BEFORE_HOLD = 3;

/** For `Worker.create`, outside `superviseActivity`: looks at the failures that it makes. */
export function watchKeys({ database, log }: { database: Database; log: Logger }) {
  return (context: Context): ActivityInterceptors => ({
    inbound: {
      async execute(input, next) {
        try {
          return await next(input);
        } catch (error) {
          const { attempt, activityType } = context.info;
          if (error instanceof ApplicationFailure && attempt >= ATTEMPTS_BEFORE_HOLD) await hold(error, activityType);
          throw error;
        }
      },
    },
  });

  async function hold({ type, message }: ApplicationFailure, step: string): Promise<void> {
    const refused = REFUSED_KEYS[type ?? ''];
    if (!refused || !(refused.isForAll || MONEY_STEPS.includes(step))) return;
    const { subject, advice } = refused;
    const detail = `${message}: ${advice}`;
    // Without PostgreSQL nothing is charged either.
    await holds
      .open(database.fork(), { scope: 'service', subject, reason: 'key_refused', detail, openedBy: 'a refused call' })
      .catch((reason) => log.warn({ reason: (reason as Error).name }, 'the hold for a refused key could not be stored'));
  }
}
