/** The activities of the service: what the outside world is asked to do, each in its own file. */
import type { Logger } from 'pino';
import type { Database } from '../src/database/database.ts';
import type { KmsClient } from '../src/kms/client.ts';
import type { Notifier } from '../src/notifications/notifier.ts';
import type { PaymentsClient } from '../src/payments/client.ts';
import { chargeStripe } from './charge-stripe.ts';
import { checkLimits } from './check-limits.ts';
import { closeEvent } from './close-event.ts';
import { toApplicationFailure } from './failures.ts';
import { notify, raiseAlarm } from './notify.ts';
import { recordRecharge } from './record-recharge.ts';
import { refundCharge } from './refund-charge.ts';
import { releaseReservation } from './release-reservation.ts';
import { updateKmsQuota } from './update-kms-quota.ts';

export type ActivityDependencies = { database: Database; kms: KmsClient; payments: PaymentsClient; notifier: Notifier; log: Logger };

export type Activities = ReturnType<typeof createActivities>;

/** Hands every activity what it works with, and turns whatever it throws into a failure with a stable type. */
export function createActivities(dependencies: ActivityDependencies) {
  return {
    checkLimits: bounded(checkLimits(dependencies)),
    releaseReservation: bounded(releaseReservation(dependencies)),
    chargeStripe: bounded(chargeStripe(dependencies)),
    recordRecharge: bounded(recordRecharge(dependencies)),
    updateKmsQuota: bounded(updateKmsQuota(dependencies)),
    refundCharge: bounded(refundCharge(dependencies)),
    closeEvent: bounded(closeEvent(dependencies)),
    notify: bounded(notify(dependencies)),
    raiseAlarm: bounded(raiseAlarm(dependencies)),
  };
}

function bounded<I, R>(activity: (input: I) => Promise<R>): (input: I) => Promise<R> {
  return async (input) => {
    try {
      return await activity(input);
    } catch (error) {
      throw toApplicationFailure(error);
    }
  };
}
