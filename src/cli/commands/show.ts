/** `bill recharges show`, `events show`, `reversals show` and `holds show`: the story of one thing, by any id that leads to it. */
import { styleText } from 'node:util';
import type { Command } from 'commander';
import { seenOf } from '../../domain/hold.ts';
import { releaseOf } from '../../domain/status.ts';
import { type Output, print, type Row, withJson } from '../output.ts';
import { callService } from '../service-client.ts';
import { toDo } from './status.ts';

export type ShownRecharge = {
  id: string;
  organization_id: string;
  status: string;
  amount: string;
  currency: string;
  returned: string;
  summary: string;
  next: string | null;
  story: { at: string; what: string }[];
  ledger_transfers: { kind: string; debit_account: string; credit_account: string; amount: string; currency: string; quota: string }[];
  temporal_ui_url: string | null;
};
type ShownEvent = Row & {
  id: string;
  event_type: string;
  organization_id: string | null;
  outcome: string | null;
  received_at: string;
  summary: string;
  next: string | null;
};
export type ShownHold = Row &
  Record<'id' | 'scope' | 'subject' | 'reason' | 'detail' | 'opened_by' | 'since' | 'ended_by', string> &
  Record<'until' | 'released_at' | 'released_by' | 'release_reason', string | null> &
  Reach;

/** `stops`: of an open hold on a card. */
export type Reach = { detail: string; stops: { count: number; organization_ids: string[] } | null };

/** What was seen, and whom it stops. */
export function seenBy({ detail, stops }: Reach): string {
  return seenOf({ detail, stops: stops && { count: stops.count, ids: stops.organization_ids } });
}

/** To the commands that list them. */
export function addShowCommands(bill: Command): void {
  show(
    bill,
    'recharges',
    'a recharge, by its id or that of its event, PaymentIntent, charge, refund, dispute, hold or workflow',
    async (id) => {
      const recharge = await rechargeOf(id);
      return { value: recharge, text: () => textOf(recharge) };
    },
  );
  show(bill, 'reversals', 'a refund or dispute made elsewhere, by its id or any that leads to its recharge', async (id) => {
    const reversal = await callService<Row & { recharge_id: string }>('GET', `/api/v1/reversals/${encodeURIComponent(id)}`);
    const recharge = await rechargeOf(reversal.recharge_id);
    return { value: { ...reversal, recharge }, text: () => textOf(recharge) };
  });
  show(bill, 'events', 'what came into the inbox, and what became of it, by its id or any that leads to its recharge', async (id) => {
    const event = await callService<ShownEvent>('GET', `/webhooks/events/${encodeURIComponent(id)}`);
    const recharge = await rechargeOf(event.id).catch(() => undefined);
    return { value: { ...event, recharge: recharge ?? null }, text: () => eventText(event, recharge) };
  });
  show(bill, 'holds', 'what stops charges, since when and why, and what ends it, by its id or any that leads to it', async (id) => {
    const hold = await holdOf(id);
    const others = await Promise.all(hold.others.map(holdOf));
    return { value: hold, text: () => [hold, ...others].map(holdText).join('\n\n') };
  });
}

function show(
  bill: Command,
  list: string,
  description: string,
  look: (id: string) => Promise<{ value: unknown; text: () => string }>,
): void {
  const parent = bill.commands.find((command) => command.name() === list);
  if (!parent) throw new Error(`there is no command ${list}`);
  // Both have --json: what stands behind `show` is of `show`.
  parent.enablePositionalOptions();
  withJson(parent.command('show').argument('<id>').description(description)).action(async (id: string, options: Output) => {
    const { value, text } = await look(id);
    print(options, value, text);
  });
}

/** `others`: what the id leads to as well. */
function holdOf(id: string): Promise<ShownHold & { others: string[] }> {
  return callService('GET', `/api/v1/holds/${encodeURIComponent(id)}`);
}

function rechargeOf(id: string): Promise<ShownRecharge> {
  return callService<ShownRecharge>('GET', `/api/v1/recharges/${encodeURIComponent(id)}`);
}

/** How it stands, what to do, what has happened, what the ledger has, and where its run is. */
export function textOf(recharge: ShownRecharge): string {
  const { id, organization_id: of, summary, next, story, ledger_transfers: transfers, temporal_ui_url: link } = recharge;
  return [
    `${styleText('bold', id)} of ${of}: ${statusWithReturned(recharge)}`,
    sentence(summary),
    ...(next ? [toDo(next)] : []),
    '',
    ...story.map(({ at, what }) => `${timeText(at)}  ${what}`),
    ...(transfers.length > 0 ? ['', 'ledger'] : []),
    ...transfers.map(({ kind, debit_account: from, credit_account: to, amount, currency, quota }) => {
      return `  ${kind.padEnd(10)}  ${from} → ${to}  ${amount} ${currency.toUpperCase()}  (${quota} of quota)`;
    }),
    ...(link ? ['', `Temporal  ${link}`] : []),
  ].join('\n');
}

/** A recharge stays `succeeded` when its money goes back: both are said. */
export function statusWithReturned({
  status,
  amount,
  currency,
  returned,
}: Pick<ShownRecharge, 'status' | 'amount' | 'currency' | 'returned'>): string {
  if (!Number(returned) || status === 'refunded') return status;
  return returned === amount ? `${status}, returned` : `${status}, ${returned} ${currency.toUpperCase()} returned`;
}

function eventText(
  { id, event_type: type, organization_id: of, outcome, received_at: at, summary, next }: ShownEvent,
  recharge: ShownRecharge | undefined,
): string {
  const head = `${styleText('bold', id)}, ${type} of ${of ?? 'no organization'}, ${timeText(at)}: ${outcome ?? 'open'}`;
  return [head, sentence(summary), ...(next ? [toDo(next)] : []), ...(recharge ? ['', textOf(recharge)] : [])].join('\n');
}

/** What stops charges, why and since when, and what ends it, or who has. */
export function holdText({
  id,
  scope,
  subject,
  reason,
  detail,
  stops,
  opened_by: opener,
  since,
  until,
  ended_by: endedBy,
  ...end
}: ShownHold): string {
  const on = scope === 'service' ? 'the service' : `${scope} ${subject}`;
  const ending = end.released_at
    ? [`${timeText(end.released_at)}  it ended, by ${end.released_by}${end.release_reason ? `: ${end.release_reason}` : ''}`]
    : [toDo(`${until ? `it ends at ${timeText(until)}, or sooner: ` : ''}${endedBy}: ${releaseOf(id)}`)];
  return [
    `${styleText('bold', id)} (${reason}) on ${on}`,
    sentence(seenBy({ detail, stops })),
    `${timeText(since)}  it began, by ${opener}`,
    ...ending,
  ].join('\n');
}

function timeText(time: string): string {
  return time.replace('T', ' ').replace(/(\.\d+)?Z$/, ' UTC');
}

function sentence(text: string): string {
  return text.endsWith('.') ? text : `${text}.`;
}
