/** `bill sweep`: runs the balance sweep now and shows what it has reported. */
import type { Command } from 'commander';
import type { SweepCounts } from '../../../activities/sweep/types.ts';
import type { BalanceSweepWorkflow } from '../../../workflows/contract.ts';
import { shortList } from '../../domain/short-list.ts';
import { type Output, print, snakeCased, withJson } from '../output.ts';
import { progress, unlessJson } from '../progress.ts';
import { tableBelow } from '../table.ts';
import { counted } from '../units.ts';
import type { RunByHand } from '../workflow-run.ts';

export function addSweepCommand(bill: Command): void {
  withJson(bill.command('sweep').description('read every balance now, and recharge what is low or soon will be')).action(
    async (options: Output) => {
      const { runByHand } = await import('../workflow-run.ts');
      const { sweepProgress, WORKFLOW_TYPES } = await import('../../../workflows/contract.ts');
      const run: RunByHand<BalanceSweepWorkflow> = {
        type: WORKFLOW_TYPES.sweep,
        name: 'balance-sweep',
        args: [],
        query: sweepProgress,
        say: unlessJson(options),
      };
      const say = progress(options);
      const counts = await runByHand(run, (seen, trouble) => say(teamsRead(seen), trouble));
      print(options, snakeCased(counts), () => `${summaryOf(counts)}${tableBelow(reportedRows(counts))}`);
    },
  );
}

function teamsRead({ teams, organizations }: SweepCounts): string {
  return `${counted(teams, 'team')} looked at, ${organizations} of them ours`;
}

function summaryOf(counts: SweepCounts): string {
  const { reported, waiting, paused = [], unused = [], unreadable, failedPages } = counts;
  return [
    `${teamsRead(counts)}, ${reported.length} reported, ${waiting} waiting after failed attempts${paused.length > 0 ? `: ${shortList(paused, waiting)}` : ''}`,
    unused.length > 0 && `not charged, because their teams were made for them and never used: ${unused.join(', ')}`,
    unreadable > 0 && `${unreadable} teams could not be read: the log says why`,
    failedPages.length > 0 && `pages ${failedPages.join(', ')} could not be read: the next sweep tries again`,
  ]
    .filter(Boolean)
    .join('\n');
}

function reportedRows({ reported }: SweepCounts): Record<string, string>[] {
  return reported.map(({ organizationId, eventType, balance, eventId }) => ({
    organization: organizationId,
    why: eventType,
    balance: `${balance} USD`,
    event: eventId,
  }));
}
