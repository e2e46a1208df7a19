/**
 * The `type` of every failure that an activity ends with. Retry policies name them, operators search for them
 * in the Temporal Web UI, so they stay as they are.
 */
export const FAILURE = {
  /** LiteLLM has no such team (404). */
  kmsTeamNotFound: 'KmsTeamNotFound',
  /** What the call would create is in LiteLLM already (409, or a 400 that says so). */
  kmsConflict: 'KmsConflict',
  /** LiteLLM refuses the request as it is (400, 422). */
  kmsInvalid: 'KmsInvalid',
  /** The KMS key may not do this (403). */
  kmsForbidden: 'KmsForbidden',
  /** A wrong KMS key, or a LiteLLM without its database (401). */
  kmsUnauthenticated: 'KmsUnauthenticated',
  /** LiteLLM cannot be read or reached: nothing has happened. */
  kmsUnavailable: 'KmsUnavailable',
  /** The answer to a write was lost: the next attempt reads what happened. */
  kmsUnknownOutcome: 'KmsUnknownOutcome',
  /** LiteLLM shows a budget that a recharge has replaced since. */
  kmsStale: 'KmsStale',
  /** The budget that was written does not show yet. */
  kmsWriteNotVisible: 'KmsWriteNotVisible',
  /** The Stripe key is wrong, revoked or lacks a permission. */
  stripeKeyRefused: 'StripeKeyRefused',
  /** Too many requests, or another request has the key or the object. */
  stripeBusy: 'StripeBusy',
  /** No answer, or none that can be used: the next attempt reads what happened. */
  stripeUnavailable: 'StripeUnavailable',
  databaseUnavailable: 'DatabaseUnavailable',
  /** The recharge is in a status that this step does not start from. */
  unexpectedStatus: 'UnexpectedStatus',
  /** A balance kept changing while it was being decided on. */
  balanceUnstable: 'BalanceUnstable',
  /** Nothing shows that LiteLLM takes a raise: another recharge of the service goes first. */
  raiseUnproven: 'RaiseUnproven',
  /** The same card is being charged for another recharge. */
  cardBusy: 'CardBusy',
  /** LiteLLM has refused the budget, and shows that it has not changed. */
  budgetRefused: 'BudgetRefused',
  /** A refund of the recharge was asked for, so no quota is due. */
  refundAskedFor: 'RefundAskedFor',
  /** Another change of the same team's budget is under way. */
  budgetBusy: 'BudgetBusy',
  /** The process stood still after a look on which something was to be written or charged: the next attempt looks again. */
  lookTooOld: 'LookTooOld',
  /** A refund or dispute waits until its recharge is settled. */
  rechargeNotAtRest: 'RechargeNotAtRest',
  /** A short step was not tried within the workflow task, because something is slow: an activity takes it. */
  noGoodTime: 'NoGoodTime',
  /** A workflow was started with an input that it does not know, or with an organization that there is not. */
  invalidInput: 'InvalidInput',
  /** Not a failure of an activity: how a run ends that a person has to settle. */
  needsAttention: 'NeedsAttention',
} as const;
