/** What the inbox, the API and the activities ask of Temporal. `temporal/starter.ts` does it. */
import type { Recharge, SyncRun } from './database/entities.ts';
import type { DispatchableEvent } from './database/webhook-events.ts';
import type { ReturnedMoney } from './domain/reversal.ts';
import type { RunTrouble } from './domain/status.ts';

/** A refund or dispute by its kind and its id at Stripe. */
export type MoneyName = Pick<ReturnedMoney, 'id' | 'kind'>;

/** The one that handles an event of an organization. */
export type EventRun = { organizationId: string; eventId: string };

export interface WorkflowStarter {
  /** Starts the event's `rechargeWorkflow`. One that was started before counts as success. */
  startRecharge(event: DispatchableEvent): Promise<void>;

  /**
   * Starts the event's `rechargeWorkflow` again: its last run has ended without settling the event, or has
   * only its notification left to send. The new run takes the old one's place; every step is idempotent.
   */
  restartRecharge(event: DispatchableEvent): Promise<void>;

  /** Whether the event's `rechargeWorkflow` has a run that has not ended; a paused one has not. */
  isRechargeRunning(run: EventRun): Promise<boolean>;

  /** What the event's run has failed with and tries again; undefined: nothing, or it has no run. */
  troubleOf(run: EventRun): Promise<RunTrouble | undefined>;

  /** The same of the run of a synchronisation. */
  troubleOfSync(run: SyncRun): Promise<RunTrouble | undefined>;

  /** Signals the recharge's run that Stripe has changed something. A run that has ended needs no signal. */
  wakeRecharge(recharge: EventRun): Promise<void>;

  /**
   * Has the refunds and disputes of a recharge followed, by the `reversalWorkflow` that runs or by a new one.
   *
   * @param moneys what a new run is started for, for people to read; without them it looks whether there are any.
   */
  followReversals(recharge: Pick<Recharge, 'id' | 'organizationId' | 'litellmTeamId'>, moneys?: readonly MoneyName[]): Promise<void>;

  /** Signals the `reversalWorkflow` of a recharge that Stripe has changed something. Starts none. */
  wakeReversals(recharge: Pick<Recharge, 'id'>): Promise<void>;

  /** Starts `teamSyncWorkflow` for a run that has its row. */
  startSync(run: SyncRun): Promise<void>;
}
