/**
 * `bill`: every command of the service. What only one command needs is imported when it runs, so that the
 * small ones are quick.
 */
import { Command } from 'commander';
import { addHoldCommands } from './commands/holds.ts';
import { addLedgerCommands } from './commands/ledger.ts';
import { addListCommands } from './commands/lists.ts';
import { addOrganizationCommands } from './commands/organizations.ts';
import { addOutboundCommands } from './commands/outbound.ts';
import { addReconcileCommand } from './commands/reconcile.ts';
import { addResolveCommand } from './commands/resolve.ts';
import { addSweepCommand } from './commands/sweep.ts';
import { addSyncCommand } from './commands/sync.ts';
import { addWebhookCommands } from './commands/webhook.ts';
import { PARTS, type Part, parts } from './dev/parts.ts';
import { type Output, withJson } from './output.ts';

/** `EX_CONFIG` of config.ts, which takes a while to load. */
const EX_CONFIG = 78;

const bill = new Command('bill').description('Keeps LiteLLM teams funded.').showHelpAfterError();

bill
  .command('dev')
  .description('the whole service on this machine, with stand-ins for Stripe and LiteLLM')
  .option('--fresh', 'start over: forget everything under .data')
  .option('--no-traffic', 'no simulated spending')
  .option('--allow-real <parts>', `servers of yours beside its own, by name: ${PARTS.join(', ')}`, parts, [])
  .action(async (options: { fresh?: boolean; traffic: boolean; allowReal: Part[] }) => {
    const { dev } = await import('./dev/dev.ts');
    await dev({ fresh: options.fresh ?? false, traffic: options.traffic, allowReal: options.allowReal });
  });

bill
  .command('serve')
  .description('the API with the inbox dispatcher; any number of them')
  .action(async () => (await import('./run.ts')).serve());

bill
  .command('worker')
  .description('a Temporal worker; any number of them')
  .option('--check', 'start none, and say whether one of this host polls; ends with 1 when none does')
  .action(async ({ check }: { check?: boolean }) =>
    check ? (await import('./worker-check.ts')).checkWorker() : (await import('./run.ts')).work(),
  );

bill
  .command('migrate')
  .description('database migrations, search attributes and schedules; idempotent')
  .action(async () => (await import('./run.ts')).migrateOnce());

withJson(
  bill
    .command('doctor')
    .description('check everything that the service needs, and say what to change; ends with 1 when something has to change'),
).action(async (options: Output) => (await import('./doctor/doctor.ts')).doctor(options));

addOrganizationCommands(bill);
addListCommands(bill);
addWebhookCommands(bill);
addResolveCommand(bill);
addHoldCommands(bill);
addOutboundCommands(bill);
addReconcileCommand(bill);
addSweepCommand(bill);
addSyncCommand(bill);
addLedgerCommands(bill);

try {
  await bill.parseAsync();
} catch (error) {
  const { name, message } = error as Error;
  console.error(`bill: ${message}`);
  process.exitCode = name === 'ConnectionUrlError' ? EX_CONFIG : 1;
}
