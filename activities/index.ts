/**
 * The activities of the service, each in its own file: what it asks of PostgreSQL, Stripe, LiteLLM and
 * Temporal.
 */
import type { ActivityDependencies } from './dependencies.ts';
import { chargeStripe } from './recharge/charge-stripe.ts';
import { checkLimits } from './recharge/check-limits.ts';
import { closeEvent } from './recharge/close-event.ts';
import { notify, raiseAlarm } from './recharge/notify.ts';
import { recordRecharge } from './recharge/record-recharge.ts';
import { refundCharge } from './recharge/refund-charge.ts';
import { releaseReservation } from './recharge/release-reservation.ts';
import { updateKmsQuota } from './recharge/update-kms-quota.ts';
import { checkBooks } from './reconcile/check-books.ts';
import { compareBudgets } from './reconcile/compare-budgets.ts';
import { compareIntents } from './reconcile/compare-intents.ts';
import { restoreLost } from './reconcile/restore-lost.ts';
import { resumeIdle } from './reconcile/resume-idle.ts';
import { removeExpired } from './retention/remove-expired.ts';
import { findReversals } from './reversal/find-reversals.ts';
import { giveBackQuota } from './reversal/give-back-quota.ts';
import { takeBackQuota } from './reversal/take-back-quota.ts';
import { probeHolds } from './sweep/probe-holds.ts';
import { sweepTeams } from './sweep/sweep-teams.ts';
import { tellOverdue } from './sweep/tell-overdue.ts';
import { beginSync } from './sync/begin-sync.ts';
import { finishSync } from './sync/finish-sync.ts';
import { syncOrganizations } from './sync/sync-organizations.ts';
import { syncTeams } from './sync/sync-teams.ts';

export type BulkActivities = ReturnType<typeof bulkActivities>;
export type Activities = ReturnType<typeof moneyActivities> & BulkActivities;

/**
 * Those of a charge, a refund and a reversal, each with its dependencies. The worker has to run each of them within
 * `superviseActivity`.
 */
export function moneyActivities(dependencies: ActivityDependencies) {
  return {
    ...chargeActivities(dependencies),
    checkLimits: checkLimits(dependencies),
    releaseReservation: releaseReservation(dependencies),
    recordRecharge: recordRecharge(dependencies),
    updateKmsQuota: updateKmsQuota(dependencies),
    refundCharge: refundCharge(dependencies),
    closeEvent: closeEvent(dependencies),
    notify: notify(dependencies),
    raiseAlarm: raiseAlarm(dependencies),

    findReversals: findReversals(dependencies),
    takeBackQuota: takeBackQuota(dependencies),
    giveBackQuota: giveBackQuota(dependencies),
  };
}

/** The one whose pace is limited. */
export function chargeActivities(dependencies: ActivityDependencies) {
  return { chargeStripe: chargeStripe(dependencies) };
}

/** The same of sweep, synchronisation, reconciliation and retention. */
export function bulkActivities(dependencies: ActivityDependencies) {
  return {
    checkBooks: checkBooks(dependencies),
    resumeIdle: resumeIdle(dependencies),
    compareIntents: compareIntents(dependencies),
    restoreLost: restoreLost(dependencies),
    compareBudgets: compareBudgets(dependencies),

    probeHolds: probeHolds(dependencies),
    sweepTeams: sweepTeams(dependencies),
    tellOverdue: tellOverdue(dependencies),

    removeExpired: removeExpired(dependencies),

    beginSync: beginSync(dependencies),
    syncTeams: syncTeams(dependencies),
    syncOrganizations: syncOrganizations(dependencies),
    finishSync: finishSync(dependencies),
  };
}
