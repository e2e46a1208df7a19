/** `bill resolve`: settles what needs attention, and what is stuck. */
import { userInfo } from 'node:os';
import type { Command } from 'commander';
import { type Destination, RESOLUTIONS, type Resolution } from '../../domain/resolution.ts';
import { usageError } from '../exit.ts';
import { type Output, print, withJson } from '../output.ts';
import { callService } from '../service-client.ts';

export function addResolveCommand(bill: Command): void {
  withJson(
    bill
      .command('resolve')
      .argument('<id>', 'a recharge, or the refund or dispute of a reversal')
      .description('settle a recharge or a reversal that needs attention, or a recharge that is stuck; the reason is kept')
      .option('--grant <reason>', 'raise the quota by what is held; nothing is raised twice where it was raised by hand')
      .option('--refund <reason>', 'give back what is held, and take back quota that was raised for it')
      .option('--accept <reason>', 'it is right as it is: what is held counts as granted, what is not charged as cancelled'),
  ).action(async (id: string, options: Output & Partial<Record<Resolution, string>>) => {
    const chosen = RESOLUTIONS.filter((resolution) => options[resolution] !== undefined);
    const [resolution] = chosen;
    if (chosen.length !== 1 || !resolution) throw usageError('name one of --grant, --refund and --accept, each with the reason');
    const kind = id.startsWith('rch_') ? 'recharges' : 'reversals';
    const body = { resolution, reason: options[resolution], by: userInfo().username };
    const path = `/api/v1/${kind}/${encodeURIComponent(id)}/resolve`;
    const settled = await callService<Settled>('POST', path, { body });
    print(options, settled, () => `${settled.id}: ${whatHappens(resolution, settled)}`);
  });
}

type Settled = { id: string; status: string; amount: string; currency: string };

/** After the decision; the status alone, such as `charged`, reads as if the card were asked again. */
export function whatHappens(resolution: Resolution, { id, status, amount, currency }: Settled): string {
  const money = `${amount} ${currency.toUpperCase()}`;
  const follow = `bill recharges show ${id} follows it`;
  switch (status as Destination) {
    case 'charged':
      return `the quota is raised now for the ${money} that the customer has paid; the card is not charged again. ${follow}`;
    case 'refunding':
      return resolution === 'refund'
        ? `${money} or what is left of it goes back to the customer now. ${follow}`
        : `the refund goes on, and the budget stays as it is. ${follow}`;
    case 'succeeded':
      return `accepted as it is: the ${money} counts as granted, and nothing more happens`;
    case 'cancelled':
      return 'cancelled: nothing was charged, and nothing is';
    default:
      return `accepted as it is (${status}): the quota stays as it is in LiteLLM`;
  }
}
