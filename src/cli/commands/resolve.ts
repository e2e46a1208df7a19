/** `bill resolve`: settles what needs attention, and what is stuck. */
import { userInfo } from 'node:os';
import type { Command } from 'commander';
import { RESOLUTIONS, type Resolution } from '../../domain/resolution.ts';
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
    const settled = await callService<{ id: string; status: string }>('POST', path, { body });
    print(options, settled, () => `${settled.id} is ${settled.status}`);
  });
}
