/** The activities of the service: what the outside world is asked to do, each in its own file. */
import { Context } from '@temporalio/activity';
import type { Database } from '../src/database/database.ts';
import type { KmsClient } from '../src/kms/client.ts';
import type { Notifier } from '../src/notifications/notifier.ts';
import type { Logger } from '../src/observability/log.ts';
import type { PaymentsClient } from '../src/payments/client.ts';
import type { WorkflowStarter } from '../src/temporal/starter.ts';
import { chargeStripe } from './charge-stripe.ts';
import { checkLimits } from './check-limits.ts';
import { closeEvent } from './close-event.ts';
import { toApplicationFailure } from './failures.ts';
import { notify, raiseAlarm } from './notify.ts';
import { compareBudgets, compareIntents, restoreLost, resumeIdle } from './reconcile.ts';
import { recordRecharge } from './record-recharge.ts';
import { refundCharge } from './refund-charge.ts';
import { releaseReservation } from './release-reservation.ts';
import { findReversals, giveBackQuota, takeBackQuota } from './reversals.ts';
import { sweepTeams } from './sweep.ts';
import { beginSync, finishSync, syncOrganizations, syncTeams } from './sync.ts';
import { updateKmsQuota } from './update-kms-quota.ts';

export type ActivityDependencies = {
  database: Database;
  kms: KmsClient;
  payments: PaymentsClient;
  workflows: WorkflowStarter;
  notifier: Notifier;
  log: Logger;
};

export type Activities = ReturnType<typeof createActivities>;

/** A worker that dies is noticed when this many of its signs of life are missing; see `heartbeatTimeout` beside the proxies. */
const HEARTBEAT_MS = 2_000;

/** Hands every activity what it works with, and turns whatever it throws into a failure with a stable type. */
export function createActivities(dependencies: ActivityDependencies) {
  return {
    checkLimits: supervised(checkLimits(dependencies)),
    releaseReservation: supervised(releaseReservation(dependencies)),
    chargeStripe: supervised(chargeStripe(dependencies)),
    recordRecharge: supervised(recordRecharge(dependencies)),
    updateKmsQuota: supervised(updateKmsQuota(dependencies)),
    refundCharge: supervised(refundCharge(dependencies)),
    findReversals: supervised(findReversals(dependencies)),
    takeBackQuota: supervised(takeBackQuota(dependencies)),
    giveBackQuota: supervised(giveBackQuota(dependencies)),
    resumeIdle: supervised(resumeIdle(dependencies)),
    compareIntents: supervised(compareIntents(dependencies)),
    restoreLost: supervised(restoreLost(dependencies)),
    compareBudgets: supervised(compareBudgets(dependencies)),
    sweepTeams: supervised(sweepTeams(dependencies)),
    beginSync: supervised(beginSync(dependencies)),
    syncTeams: supervised(syncTeams(dependencies)),
    syncOrganizations: supervised(syncOrganizations(dependencies)),
    finishSync: supervised(finishSync(dependencies)),
    closeEvent: supervised(closeEvent(dependencies)),
    notify: supervised(notify(dependencies)),
    raiseAlarm: supervised(raiseAlarm(dependencies)),
  };
}

function supervised<I, R>(activity: (input: I) => Promise<R>): (input: I) => Promise<R> {
  return async (input) => {
    const context = Context.current();
    const heartbeat = setInterval(() => context.heartbeat(), HEARTBEAT_MS);
    try {
      return await activity(input);
    } catch (error) {
      throw toApplicationFailure(error);
    } finally {
      clearInterval(heartbeat);
    }
  };
}
