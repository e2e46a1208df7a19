/** The operator's moves: settle a recharge that needs attention, reconcile, verify the ledger. */
import { userInfo } from 'node:os';
import type { Command } from 'commander';
import type { reconcileWorkflow } from '../../workflows/reconcile.ts';
import { RESOLUTIONS, type Resolution } from '../domain/resolution.ts';
import { callService, ServiceError, serviceEnvironment, serviceSetting } from './service-client.ts';
import { table } from './table.ts';

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
  const { loadClientConnectConfig } = await import('@temporalio/envconfig');
  const { openClient } = await import('../temporal/connection.ts');
  const env = serviceEnvironment();
  const temporal = {
    connect: loadClientConnectConfig({ overrideEnvVars: env }),
    taskQueue: env['TEMPORAL_TASK_QUEUE'] ?? 'bill-service',
    uiUrl: undefined,
  };
  const client = openClient(temporal);
  try {
    const run = await client.workflow.start<typeof reconcileWorkflow>('reconcileWorkflow', {
      workflowId: `reconcile/by-hand-${Date.now()}`,
      taskQueue: temporal.taskQueue,
      args: [{ fix }],
    });
    const progress = setInterval(async () => {
      const seen = await run.query<{ intents: number; organizations: number }>('progress').catch(() => undefined);
      if (seen && !json) console.error(`${seen.intents} intents and ${seen.organizations} organizations compared …`);
    }, PROGRESS_MS);
    const result = await run.result().finally(() => clearInterval(progress));
    if (json) return console.log(JSON.stringify(result, null, 2));
    console.log(`${result.intents} intents and ${result.organizations} organizations compared, ${result.findings.length} findings`);
    if (result.findings.length > 0) {
      console.log(
        table(
          result.findings.map(({ kind, organizationId, subject, seen, settled, command }) => ({
            kind,
            organization: organizationId,
            subject,
            seen,
            settled: settled ? 'yes' : command,
          })),
        ),
      );
    }
  } finally {
    await client.connection.close();
  }
}
