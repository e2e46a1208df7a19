import { describe, expect, test } from '@jest/globals';
import { FINDING_KINDS, type Finding, type FindingKind, findingOf, parkedReversal } from '../../../src/domain/finding.ts';
import { litellmCall } from '../../../src/domain/litellm-call.ts';

const sighting = { subject: 'rch_1', organizationId: 'acme', seen: 'something else' };
const FIX = 'bill reconcile --fix';
const RESOLVE = 'bill resolve rch_1 --grant "reason", or --refund "reason", or --accept "reason"';

/** Each kind with what it expects and the command that settles it. */
const WORDS: Record<FindingKind, { finding: Finding; expected: string; command: string }> = {
  prepaid_not_zero: {
    finding: findingOf('prepaid_not_zero', sighting),
    expected: 'nothing held: what was captured was granted or refunded',
    command: 'bill ledger verify, then compare the recharges of acme with Stripe',
  },
  step_made_twice: {
    finding: findingOf('step_made_twice', sighting),
    expected: 'a raise in LiteLLM for each payment',
    command: 'look whether both were raised in LiteLLM; if not, refund the payment of rch_1 in Stripe',
  },
  recharge_parked: { finding: findingOf('recharge_parked', sighting), expected: 'settled', command: RESOLVE },
  recharge_overdue: {
    finding: findingOf('recharge_overdue', sighting),
    expected: 'settled within minutes',
    command: `bill doctor; or ${RESOLVE}`,
  },
  hold_stands: {
    finding: findingOf('hold_stands', sighting),
    expected: 'no hold',
    command: 'bill release rch_1 "reason", when what it is for is settled',
  },
  run_missing: { finding: findingOf('run_missing', sighting), expected: 'a run, or an outcome', command: FIX },
  recharge_lost: {
    finding: findingOf('recharge_lost', { ...sighting, waitsFor: 'fix' }),
    expected: 'its recharge in the database',
    command: FIX,
  },
  captured_unknown: { finding: findingOf('captured_unknown', sighting), expected: 'not captured', command: RESOLVE },
  money_returned: {
    finding: findingOf('money_returned', { ...sighting, rechargeId: 'rch_2' }),
    expected: 'recharge rch_2 has followed it',
    command: FIX,
  },
  fraud_warning_missed: {
    finding: findingOf('fraud_warning_missed', sighting),
    expected: 'a hold of the organization',
    command: FIX,
  },
  ledger_without_capture: {
    finding: findingOf('ledger_without_capture', sighting),
    expected: 'captured, as the ledger says',
    command: RESOLVE,
  },
  reversal_parked: {
    finding: findingOf('reversal_parked', sighting),
    expected: 'the quota follows the money',
    command: 'bill resolve rch_1 --accept "reason", when max_budget in LiteLLM is right',
  },
  ledger_changed: { finding: findingOf('ledger_changed', sighting), expected: 'an unbroken chain', command: 'bill ledger verify' },
  team_unreadable: {
    finding: findingOf('team_unreadable', sighting),
    expected: 'a team that LiteLLM shows',
    command: 'look at team rch_1 in LiteLLM; bill doctor says whether others can be read',
  },
  stage_failed: { finding: findingOf('stage_failed', sighting), expected: 'to be done', command: `bill doctor, then ${FIX}` },
  budget_differs: {
    finding: findingOf('budget_differs', { ...sighting, left: '30.50', isThere: true }),
    expected: '30.50, as our last recharge or reversal left it, unless somebody has edited it since',
    command: `if it was not meant: ${litellmCall('/team/update', { team_id: 'rch_1', max_budget: 30.5 })}; if it was: a lower one holds the organization at the next alert, and bill release accepts it; a higher one stays`,
  },
};

test('a budget of a team that is gone has no call that sets it', () => {
  const { command } = findingOf('budget_differs', { ...sighting, left: '30.50', isThere: false });
  expect(command).toBe('bill status --org acme says by which call, and with which max_budget');
});

test('a payment beside the one of its recharge is refunded in Stripe', () => {
  const { command } = findingOf('captured_unknown', { ...sighting, secondIntent: 'pi_2' });
  expect(command).toBe('refund PaymentIntent pi_2 in Stripe');
});

test('a call of LiteLLM can be pasted into a shell, whatever the team is called', () => {
  const call = litellmCall('/team/update', { team_id: "o'brien" });
  expect(call).toBe(
    `curl "$KMS_BASE_URL/team/update" -H "Authorization: Bearer $KMS_API_KEY" -H "Content-Type: application/json" -d '{"team_id":"o'\\''brien"}'`,
  );
});

test('a reversal that a person has to settle is a finding with what was seen, where that is known', () => {
  const reversal = { id: 're_1', organizationId: 'acme' };
  const finding = findingOf('reversal_parked', { subject: 're_1', organizationId: 'acme', seen: 'max_budget is 3.00' });
  expect(parkedReversal({ ...reversal, failureMessage: 'max_budget is 3.00' })).toEqual(finding);
  expect(parkedReversal(reversal)).toEqual({ ...finding, seen: 'needs attention' });
});

describe('a finding', () => {
  test.each(FINDING_KINDS)('%s says what was seen, what was expected and what settles it', (kind) => {
    const { finding, expected, command } = WORDS[kind];
    expect(finding).toEqual({ kind, ...sighting, expected, settled: false, command });
  });

  test('says so when it is settled', () => {
    expect(findingOf('run_missing', { ...sighting, settled: true }).settled).toBe(true);
  });

  test('of a lost recharge says what has to come first', () => {
    const commandOf = (waitsFor: 'organization_missing' | 'metadata_edited' | 'open_recharge') =>
      findingOf('recharge_lost', { ...sighting, waitsFor }).command;
    expect(commandOf('organization_missing')).toBe('create organization acme again, then bill reconcile --fix');
    expect(commandOf('metadata_edited')).toBe(
      'correct the metadata of the payment in Stripe, or remove recharge_id from it if it is not ours, then bill reconcile --fix',
    );
    expect(commandOf('open_recharge')).toBe('bill reconcile --fix, when the open recharge of the organization is settled');
  });
});
