/**
 * What reconciliation finds, in the words of an operator. What was expected of each kind, and what settles it,
 * stand here; what was seen comes with the finding.
 */

import { litellmCall } from './litellm-call.ts';
import { howToMakeAgain } from './sync.ts';

export const FINDING_KINDS = [
  'prepaid_not_zero',
  'step_made_twice',
  'recharge_parked',
  'recharge_overdue',
  'hold_stands',
  'run_missing',
  'recharge_lost',
  'captured_unknown',
  'money_returned',
  'fraud_warning_missed',
  'ledger_without_capture',
  'reversal_parked',
  'ledger_changed',
  'budget_differs',
  'team_unreadable',
  'stage_failed',
] as const;
export type FindingKind = (typeof FINDING_KINDS)[number];

/** What was seen, what was expected, whether it was settled, and the command that settles it. */
export type Finding = {
  kind: FindingKind;
  subject: string;
  organizationId: string;
  seen: string;
  expected: string;
  settled: boolean;
  command: string;
};

/** `settled`: reconciliation has done what settles it. */
type Sighting = Pick<Finding, 'subject' | 'organizationId' | 'seen'> & { settled?: boolean };

/** What the words of some kinds say beyond what was seen. */
type Details = {
  /** What has to come before the recharge can be entered again. */
  recharge_lost: { waitsFor: 'organization_missing' | 'metadata_edited' | 'fix' | 'open_recharge' };
  /** `secondIntent`: it was captured for a recharge that another intent has paid. */
  captured_unknown: { secondIntent?: string };
  money_returned: { rechargeId: string };
  /** `left`: the budget that our last write left, in LiteLLM dollars, decimal. `isThere`: LiteLLM has the team. */
  budget_differs: { left: string; isThere: boolean };
};
type DetailsOf<Kind extends FindingKind> = Kind extends keyof Details ? Details[Kind] : unknown;
type Words = Pick<Finding, 'expected' | 'command'>;

const FIX = 'bill reconcile --fix';

const LOST_COMMANDS: Record<Details['recharge_lost']['waitsFor'], (organizationId: string) => string> = {
  organization_missing: (organizationId) => `create organization ${organizationId} again, then ${FIX}`,
  metadata_edited: () => `correct the metadata of the payment in Stripe, or remove recharge_id from it if it is not ours, then ${FIX}`,
  fix: () => FIX,
  open_recharge: () => `${FIX}, when the open recharge of the organization is settled`,
};

const WORDS: { [Kind in FindingKind]: (sighting: Sighting & DetailsOf<Kind>) => Words } = {
  prepaid_not_zero: ({ organizationId }) => ({
    expected: 'nothing held: what was captured was granted or refunded',
    command: `bill ledger verify, then compare the recharges of ${organizationId} with Stripe`,
  }),
  step_made_twice: ({ subject }) => ({
    expected: 'a raise in LiteLLM for each payment',
    command: `look whether both were raised in LiteLLM; if not, refund the payment of ${subject} in Stripe`,
  }),
  recharge_parked: ({ subject }) => ({ expected: 'settled', command: resolveRecharge(subject) }),
  recharge_overdue: ({ subject }) => ({ expected: 'settled within minutes', command: `bill doctor; or ${resolveRecharge(subject)}` }),
  hold_stands: ({ subject }) => ({ expected: 'no hold', command: `bill release ${subject} "reason", when what it is for is settled` }),
  run_missing: () => ({ expected: 'a run, or an outcome', command: FIX }),
  recharge_lost: ({ organizationId, waitsFor }) => ({
    expected: 'its recharge in the database',
    command: LOST_COMMANDS[waitsFor](organizationId),
  }),
  captured_unknown: ({ subject, secondIntent }) => ({
    expected: 'not captured',
    command: secondIntent ? `refund PaymentIntent ${secondIntent} in Stripe` : resolveRecharge(subject),
  }),
  money_returned: ({ rechargeId }) => ({ expected: `recharge ${rechargeId} has followed it`, command: FIX }),
  fraud_warning_missed: () => ({ expected: 'a hold of the organization', command: FIX }),
  ledger_without_capture: ({ subject }) => ({ expected: 'captured, as the ledger says', command: resolveRecharge(subject) }),
  reversal_parked: ({ subject }) => ({
    expected: 'the quota follows the money',
    command: `bill resolve ${subject} --accept "reason", when max_budget in LiteLLM is right`,
  }),
  ledger_changed: () => ({ expected: 'an unbroken chain', command: 'bill ledger verify' }),
  team_unreadable: ({ subject }) => ({
    expected: 'a team that LiteLLM shows',
    command: `look at team ${subject} in LiteLLM; bill doctor says whether others can be read`,
  }),
  stage_failed: () => ({ expected: 'to be done', command: `bill doctor, then ${FIX}` }),
  budget_differs: ({ subject, organizationId, left, isThere }) => ({
    expected: `${left}, as our last recharge or reversal left it, unless somebody has edited it since`,
    command: isThere
      ? `if it was not meant: ${litellmCall('/team/update', { team_id: subject, max_budget: Number(left) })}; if it was: a lower one holds the organization at the next alert, and bill release accepts it; a higher one stays`
      : howToMakeAgain(organizationId),
  }),
};

/** Builds every finding. `settled` is false unless the sighting says otherwise. */
export function findingOf<Kind extends FindingKind>(kind: Kind, sighting: Sighting & DetailsOf<Kind>): Finding {
  const { subject, organizationId, seen, settled = false } = sighting;
  const { expected, command } = WORDS[kind](sighting);
  return { kind, subject, organizationId, seen, expected, settled, command };
}

/** A reversal that a person has to settle. */
export function parkedReversal({
  id,
  organizationId,
  failureMessage,
}: {
  id: string;
  organizationId: string;
  failureMessage?: string | null | undefined;
}): Finding {
  return findingOf('reversal_parked', { subject: id, organizationId, seen: failureMessage ?? 'needs attention' });
}

/** In one line: a finding is a row of a table. */
function resolveRecharge(rechargeId: string): string {
  return `bill resolve ${rechargeId} --grant "reason", or --refund "reason", or --accept "reason"`;
}
