/** The operator's moves: settle what needs attention, reconcile, sweep, verify the ledger. */
import { userInfo } from 'node:os';
import type { Command } from 'commander';
import type { SweepCounts } from '../../activities/sweep/types.ts';
import type { BalanceSweepWorkflow, ReconcileResult, ReconcileWorkflow } from '../../workflows/contract.ts';
import { RESOLUTIONS, type Resolution } from '../domain/resolution.ts';
import { callService, ServiceError, serviceSetting } from './service-client.ts';
import { table } from './table.ts';
import type { RunByHand } from './workflow-run.ts';

/** Between two looks at a run under way. */
const PROGRESS_MS = 1_000;

export function addOperatorCommands(bill: Command): void {
  bill
    .command('resolve')
    .argument('<id>', 'a recharge, or the refund or dispute of a reversal')
    .description('settle a recharge or a reversal that needs attention; the reason is kept')
    .option('--grant <reason>', 'raise the quota by what is held')
    .option('--refund <reason>', 'give back what is held')
    .option('--accept <reason>', 'it is right as it is: what is held counts as granted')
    .option('--json', 'machine-readable output')
    .action(async (id: string, options: Partial<Record<Resolution, string>> & { json?: boolean }) => {
      const chosen = RESOLUTIONS.filter((resolution) => options[resolution] !== undefined);
      const [resolution] = chosen;
      if (chosen.length !== 1 || !resolution) throw new ServiceError('name one of --grant, --refund and --accept, each with the reason');
      const kind = id.startsWith('rch_') ? 'recharges' : 'reversals';
      const body = { resolution, reason: options[resolution], by: userInfo().username };
      const settled = await callService<{ id: string; status: string }>('POST', `/api/v1/${kind}/${encodeURIComponent(id)}/resolve`, body);
      console.log(options.json ? JSON.stringify(settled, null, 2) : `${settled.id} is ${settled.status}`);
    });

  bill
    .command('reconcile')
    .description('compare the database with Stripe and LiteLLM, and show what differs')
    .option('--fix', 'resume what is safe to resume')
    .option('--json', 'machine-readable output')
    .action(async ({ fix = false, json = false }: { fix?: boolean; json?: boolean }) => reconcile(fix, json));

  bill
    .command('sweep')
    .description('look at every balance now, and recharge what has run low or soon will')
    .option('--json', 'machine-readable output')
    .action(async ({ json = false }: { json?: boolean }) => sweep(json));

  bill
    .command('sync')
    .description('bring LiteLLM and the database together, and show what differed')
    .option('--org <id>', 'only this organization; may be repeated', (id: string, ids: string[] = []) => [...ids, id])
    .option('--dry-run', 'show the differences and change nothing')
    .option('--wait', 'until the run is over')
    .option('--json', 'machine-readable output')
    .action(async (options: { org?: string[]; dryRun?: boolean; wait?: boolean; json?: boolean }) => sync(options));

  bill
    .command('ledger')
    .description('the ledger')
    .command('verify')
    .description("recompute every organization's chain of transfers; ends with 1 when one was changed, removed or moved")
    .option('--org <id>', 'only this organization')
    .action(async ({ org }: { org?: string }) => {
      const { Database } = await import('../database/database.ts');
      const ledger = await import('../database/ledger.ts');
      const database = await Database.open(serviceSetting('DATABASE_URL'));
      try {
        const { transfers, faults } = await ledger.verify(database.fork(), org);
        for (const { organizationId, sequence, fault } of faults) console.log(`${organizationId}  transfer ${sequence}: ${fault}`);
        console.log(`${transfers} transfers verified, ${faults.length} faults`);
        if (faults.length > 0) process.exitCode = 1;
      } finally {
        await database.close();
      }
    });
}

async function reconcile(fix: boolean, json: boolean): Promise<void> {
  const { runByHand } = await import('./workflow-run.ts');
  const compared = ({ intents, organizations }: ReconcileResult) => `${intents} intents and ${organizations} organizations compared`;
  const { reconcileProgress, WORKFLOW_TYPES } = await import('../../workflows/contract.ts');
  const run: RunByHand<ReconcileWorkflow> = {
    type: WORKFLOW_TYPES.reconcile,
    name: 'reconcile',
    args: [{ fix }],
    query: reconcileProgress,
  };
  const result = await runByHand(run, (seen) => {
    if (!json) console.error(`${compared(seen)} …`);
  });
  if (json) return console.log(JSON.stringify(result, null, 2));
  console.log(`${compared(result)}, ${result.findings.length} findings`);
  printRows(
    result.findings.map(({ kind, organizationId, subject, seen, settled, command }) => ({
      kind,
      organization: organizationId,
      subject,
      seen,
      settled: settled ? 'yes' : command,
    })),
  );
}

async function sweep(json: boolean): Promise<void> {
  const { runByHand } = await import('./workflow-run.ts');
  const looked = ({ teams, organizations }: SweepCounts) => `${teams} teams looked at, ${organizations} of them ours`;
  const { sweepProgress, WORKFLOW_TYPES } = await import('../../workflows/contract.ts');
  const run: RunByHand<BalanceSweepWorkflow> = { type: WORKFLOW_TYPES.sweep, name: 'balance-sweep', args: [], query: sweepProgress };
  const result = await runByHand(run, (seen) => {
    if (!json) console.error(`${looked(seen)} …`);
  });
  if (json) return console.log(JSON.stringify(result, null, 2));
  const { reported, waiting, unreadable, failedPages } = result;
  console.log(`${looked(result)}, ${reported.length} reported, ${waiting} waiting after failed attempts`);
  if (unreadable > 0) console.log(`${unreadable} teams could not be read: the log says why`);
  if (failedPages.length > 0) console.log(`pages ${failedPages.join(', ')} could not be read: the next sweep tries again`);
  printRows(
    reported.map(({ organizationId, eventType, balance, eventId }) => ({
      organization: organizationId,
      why: eventType,
      balance,
      event: eventId,
    })),
  );
}

type SyncItem = Record<'kind' | 'subject' | 'ours' | 'theirs' | 'action' | 'outcome' | 'reason', string | null>;
type SyncRun = {
  id: string;
  status: 'running' | 'succeeded' | 'failed';
  counts: { teams: number; organizations: number; unmanaged_teams: number; failed_pages: number[] };
  failure: string | null;
  temporal_ui_url: string | null;
  items?: SyncItem[];
};

async function sync({
  org,
  dryRun = false,
  wait = false,
  json = false,
}: {
  org?: string[];
  dryRun?: boolean;
  wait?: boolean;
  json?: boolean;
}) {
  let run = await callService<SyncRun>('POST', '/api/v1/sync', { organization_ids: org ?? null, dry_run: dryRun });
  const looked = ({ counts }: SyncRun) => `${counts.teams} teams looked at, ${counts.organizations} organizations compared`;
  while (wait && run.status === 'running') {
    await new Promise((resolve) => setTimeout(resolve, PROGRESS_MS));
    run = await callService<SyncRun>('GET', `/api/v1/sync/${run.id}`);
    if (!json) console.error(`${looked(run)} …`);
  }
  if (run.status === 'failed') process.exitCode = 1;
  if (json) return console.log(JSON.stringify(run, null, 2));
  if (!wait) return console.log([`${run.id} has been started`, run.temporal_ui_url].filter(Boolean).join('\n'));
  const { counts, items = [], failure } = run;
  console.log(`${looked(run)}, ${items.length} differences, ${counts.unmanaged_teams} teams of nobody's`);
  if (counts.failed_pages.length > 0) console.log(`pages ${counts.failed_pages.join(', ')} could not be read: the next run tries again`);
  printRows(
    items.map(({ kind, subject, ours, theirs, action, outcome, reason }) => ({
      kind: kind ?? '',
      subject: subject ?? '',
      ours: ours ?? '-',
      theirs: theirs ?? '-',
      outcome: [action, outcome].filter(Boolean).join(' '),
      reason: reason ?? '-',
    })),
  );
  if (failure !== null) console.error(`${run.id} has failed: ${failure}`);
}

function printRows(rows: Record<string, string>[]): void {
  if (rows.length > 0) console.log(table(rows));
}
