/** `bill sync`: starts a synchronisation with LiteLLM, and shows what differed. */
import type { Command } from 'commander';
import { list } from '../arguments.ts';
import { EXIT } from '../exit.ts';
import { type Output, print, withJson } from '../output.ts';
import { progress, unlessJson } from '../progress.ts';
import { callService } from '../service-client.ts';
import { tableBelow } from '../table.ts';
import { counted } from '../units.ts';
import { workerWait } from '../worker-wait.ts';
import type { Status } from './status.ts';

/** Between two reads of a run under way. */
const PROGRESS_MS = 1_000;

type SyncItem = Record<'kind' | 'subject' | 'ours' | 'theirs' | 'action' | 'outcome' | 'reason', string | null>;
type SyncRun = {
  id: string;
  status: 'running' | 'succeeded' | 'failed';
  counts: { teams: number; organizations: number; unmanaged_teams: number; failed_pages: number[] };
  failure: string | null;
  /** What it fails with meanwhile, and when that is tried again. */
  trouble?: string | null;
  temporal_ui_url: string | null;
  items?: SyncItem[];
};

type SyncOptions = Output & { org?: string[]; dryRun?: boolean; wait?: boolean };

export function addSyncCommand(bill: Command): void {
  withJson(
    bill
      .command('sync')
      .description('bring LiteLLM and the database together, and show what differed')
      .option('--org <id>', 'only this organization; may be repeated', list)
      .option('--dry-run', 'show the differences and change nothing')
      .option('--wait', 'until the run is over'),
  ).action(sync);
}

async function sync(options: SyncOptions): Promise<void> {
  const body = { organization_ids: options.org ?? null, dry_run: options.dryRun ?? false };
  let run = await callService<SyncRun>('POST', '/api/v1/sync', { body });
  const tell = unlessJson(options);
  const later = `later: curl "$PUBLIC_URL/api/v1/sync/${run.id}" -H "Authorization: Bearer $ADMIN_API_KEY"`;
  if (options.wait) tell(`${run.id} has been started. Ctrl-C ends this command alone, and the run goes on; ${later}`);
  const workers = workerWait(`synchronisation ${run.id}`, tell);
  const say = progress(options);
  while (options.wait && run.status === 'running') {
    await new Promise((resolve) => setTimeout(resolve, PROGRESS_MS));
    run = await callService<SyncRun>('GET', `/api/v1/sync/${run.id}`);
    say(compared(run), run.trouble);
    // Nothing moves before there is a team.
    if (run.status === 'running') workers(run.counts.teams === 0 ? await goneWorkers() : []);
  }
  if (run.status === 'failed') process.exitCode = EXIT.fault;
  else if (run.items?.some(({ outcome }) => isUnsettled(outcome))) process.exitCode = EXIT.found;
  if (options.wait) {
    print(options, run, () => `${summaryOf(run)}${tableBelow(itemRows(run))}`);
    if (!options.json && run.failure !== null) console.error(`${run.id} has failed: ${run.failure}`);
  } else {
    print(options, run, () => [`${run.id} has been started`, run.temporal_ui_url, later].filter(Boolean).join('\n'));
  }
}

/** Whether somebody has to act on a difference. */
function isUnsettled(outcome: string | null): boolean {
  return outcome === 'needs_person' || outcome === 'failed';
}

/** What is said of the queues that no worker serves. */
async function goneWorkers(): Promise<string[]> {
  const { service } = await callService<Status>('GET', '/api/v1/status', { query: { limit: '1' } });
  const gone = service.filter(({ check, state }) => check.startsWith('workers of') && state === 'wrong');
  return gone.map(({ check, seen, next }) => `${check}: ${seen}. ${next}`);
}

function compared({ counts }: SyncRun): string {
  return `${counted(counts.teams, 'team')} looked at, ${counted(counts.organizations, 'organization')} compared`;
}

function summaryOf(run: SyncRun): string {
  const { counts, items = [] } = run;
  const failedPages =
    counts.failed_pages.length > 0 && `pages ${counts.failed_pages.join(', ')} could not be read: the next run tries again`;
  return [`${compared(run)}, ${counted(items.length, 'difference')}, ${counted(counts.unmanaged_teams, 'unmanaged team')}`, failedPages]
    .filter(Boolean)
    .join('\n');
}

function itemRows({ items = [] }: SyncRun): Record<string, string>[] {
  return items.map(({ kind, subject, ours, theirs, action, outcome, reason }) => ({
    kind: kind ?? '',
    subject: subject ?? '',
    ours: ours ?? '-',
    theirs: theirs ?? '-',
    outcome: [action, outcome].filter(Boolean).join(' '),
    reason: reason ?? '-',
  }));
}
