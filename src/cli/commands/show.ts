/** `bill recharges show`, `events show` and `reversals show`: the story of one thing, by any id that leads to it. */
import { styleText } from 'node:util';
import type { Command } from 'commander';
import { type Output, print, type Row, withJson } from '../output.ts';
import { callService } from '../service-client.ts';

export type ShownRecharge = {
  id: string;
  organization_id: string;
  status: string;
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
  processed: boolean;
  received_at: string;
};

/** To the commands that list them. */
export function addShowCommands(bill: Command): void {
  show(bill, 'recharges', 'a recharge, by its id or that of its event, PaymentIntent, refund, dispute or workflow', async (id) => {
    const recharge = await rechargeOf(id);
    return { value: recharge, text: () => textOf(recharge) };
  });
  show(bill, 'reversals', 'a refund or dispute made elsewhere, with the recharge that it is of', async (id) => {
    const reversal = await callService<Row & { recharge_id: string }>('GET', `/api/v1/reversals/${encodeURIComponent(id)}`);
    const recharge = await rechargeOf(reversal.recharge_id);
    return { value: { ...reversal, recharge }, text: () => textOf(recharge) };
  });
  show(bill, 'events', 'what came into the inbox, and what became of it', async (id) => {
    const event = await callService<ShownEvent>('GET', `/webhooks/events/${encodeURIComponent(id)}`);
    const recharge = await rechargeOf(id).catch(() => undefined);
    return { value: { ...event, recharge: recharge ?? null }, text: () => eventText(event, recharge) };
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

function rechargeOf(id: string): Promise<ShownRecharge> {
  return callService<ShownRecharge>('GET', `/api/v1/recharges/${encodeURIComponent(id)}`);
}

/** How it stands, what to do, what has happened, what the ledger has, and where its run is. */
export function textOf({
  id,
  organization_id: of,
  status,
  summary,
  next,
  story,
  ledger_transfers: transfers,
  temporal_ui_url: link,
}: ShownRecharge): string {
  return [
    `${styleText('bold', id)} of ${of}: ${status}`,
    `${summary}.`,
    ...(next ? [`→ ${next}`] : []),
    '',
    ...story.map(({ at, what }) => `${at.replace('T', ' ').replace(/\.\d+Z$/, ' UTC')}  ${what}`),
    ...(transfers.length > 0 ? ['', 'ledger'] : []),
    ...transfers.map(({ kind, debit_account: from, credit_account: to, amount, currency, quota }) => {
      return `  ${kind.padEnd(10)}  ${from} → ${to}  ${amount} ${currency.toUpperCase()}  (${quota} of quota)`;
    }),
    ...(link ? ['', `Temporal  ${link}`] : []),
  ].join('\n');
}

function eventText(
  { id, event_type: type, organization_id: of, outcome, processed, received_at: at }: ShownEvent,
  recharge: ShownRecharge | undefined,
): string {
  const ending = processed ? (outcome ?? 'handled') : 'its run goes on';
  const head = `${styleText('bold', id)}, ${type} of ${of ?? 'no organization'}, ${at}: ${ending}`;
  return recharge ? `${head}\n\n${textOf(recharge)}` : head;
}
