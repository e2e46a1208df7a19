/** What the Temporal Web UI shows of a recharge's run: its search attributes, and its details so far. */
import type { SearchAttributeUpdatePair } from '@temporalio/common';
import { patched, setCurrentDetails, upsertSearchAttributes, workflowInfo } from '@temporalio/workflow';
import type { ReservedRecharge } from '../activities/recharge/types.ts';
import type { EventOutcome } from '../src/domain/event-outcome.ts';
import { parseQuota } from '../src/domain/money.ts';
import type { RechargeStatus } from '../src/domain/recharge-status.ts';
import { amountMinorKey, rechargeStatusKey } from '../src/temporal/search-attributes.ts';

/**
 * Changes the search attributes that the run was started with. The namespace may lack any other, and one that it lacks
 * would stop the run. A run that began before this rule changes all of them.
 */
function show(...attributes: SearchAttributeUpdatePair[]): void {
  const own = attributes.filter(({ key }) => workflowInfo().typedSearchAttributes.get(key) !== undefined);
  const shown = own.length === attributes.length || patched('changes-only-its-own-search-attributes') ? own : attributes;
  if (shown.length > 0) upsertSearchAttributes(shown);
}

/** `isAtOnce`: amount and status in one event of the history; a run that began before takes two. */
export function showReserved(recharge: ReservedRecharge, { isAtOnce }: { isAtOnce: boolean }): void {
  const line = 'The amount is reserved; the card is charged next.';
  const amount = { key: amountMinorKey, value: recharge.amountMinor };
  if (isAtOnce) {
    show(amount, { key: rechargeStatusKey, value: 'reserved' });
    setCurrentDetails(detailsOf(recharge, 'reserved', line));
  } else {
    show(amount);
    showStatus(recharge, 'reserved', line);
  }
}

export function showStatus(recharge: ReservedRecharge, status: RechargeStatus, line: string): void {
  show({ key: rechargeStatusKey, value: status });
  setCurrentDetails(detailsOf(recharge, status, line));
}

/** Of a run that has no recharge, and so no status of one. */
export function showUncharged(outcome: EventOutcome, detail: string): void {
  show({ key: rechargeStatusKey, value: null });
  setCurrentDetails(`**${outcome}** — ${detail}`);
}

function detailsOf(recharge: ReservedRecharge, status: RechargeStatus, line: string): string {
  const { organizationId, organizationName, teamId, amount, eventType, balance, minimumBalance } = recharge;
  return [
    `**${organizationName}** (${organizationId}), team ${teamId}: **${amount}**`,
    `Because ${eventType} reported it and the balance was ${balance}, ${comparedToMinimum(recharge)} the minimum of ${minimumBalance}.`,
    `**${status}** — ${line}`,
  ].join('\n\n');
}

function comparedToMinimum({ balance, minimumBalance, source }: ReservedRecharge): string {
  if (parseQuota(balance) <= parseQuota(minimumBalance)) return 'at or below';
  return source === 'sweep' ? 'which would soon have fallen to' : 'of which a call reserves more than is left, though it is above';
}
