/**
 * `bill`: every command of the service. What only one command needs is imported when it runs, so that the
 * small ones are quick.
 */
import { Command, CommanderError } from 'commander';
import { givenValues, refuseEmpty } from './arguments.ts';
import { addCompletionCommand } from './commands/completion.ts';
import { addHoldCommands } from './commands/holds.ts';
import { addLedgerCommands } from './commands/ledger.ts';
import { addListCommands } from './commands/lists.ts';
import { addOrganizationCommands } from './commands/organizations.ts';
import { addOutboundCommands } from './commands/outbound.ts';
import { addReconcileCommand } from './commands/reconcile.ts';
import { addResolveCommand } from './commands/resolve.ts';
import { addShowCommands } from './commands/show.ts';
import { addStatusCommand } from './commands/status.ts';
import { addSweepCommand } from './commands/sweep.ts';
import { addSyncCommand } from './commands/sync.ts';
import { addWebhookCommands } from './commands/webhook.ts';
import { PARTS, type Part, parts } from './dev/parts.ts';
import { CommandError, EXIT, EXIT_CODES_HELP } from './exit.ts';
import { type Output, withJson } from './output.ts';
import { otherServiceText } from './places.ts';
import { withWhatIsMeant } from './unknown-command.ts';

// Every command inherits how usage errors are shown, and that they are thrown.
const bill = new Command('bill')
  .description('Keeps LiteLLM teams funded.')
  .addHelpText('after', EXIT_CODES_HELP)
  .showHelpAfterError('(--help lists what there is)')
  .configureOutput({ outputError: (said, write) => write(withWhatIsMeant(said)) })
  .enablePositionalOptions()
  .hook('preAction', (_bill, command) => refuseEmpty([...command.args, ...givenValues(command.opts())]))
  .hook('preAction', (_bill, command) => warnOfAnotherService(command))
  .exitOverride();

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
    .description('check everything that the service needs, and say what to change; ends with 3 when something has to change'),
).action(async (options: Output) => (await import('./doctor/doctor.ts')).doctor(options));

addStatusCommand(bill);
addOrganizationCommands(bill);
addListCommands(bill);
addWebhookCommands(bill);
addResolveCommand(bill);
addHoldCommands(bill);
addShowCommands(bill);
addOutboundCommands(bill);
addReconcileCommand(bill);
addSweepCommand(bill);
addSyncCommand(bill);
addLedgerCommands(bill);
addCompletionCommand(bill);

/** These do not call the API. Those of them that read a server say themselves which one. */
const WITHOUT_API = new Set(['dev', 'serve', 'worker', 'migrate', 'doctor', 'reconcile', 'sweep', 'verify', 'completion']);

/** A command that shows another service than the one that runs here says so. */
function warnOfAnotherService(command: Command): void {
  if (WITHOUT_API.has(command.name()) || command.opts<Output>().json) return;
  const other = otherServiceText();
  if (other !== null) console.error(`warning: ${other}.`);
}

try {
  // Before the missing options of `bill org add ""` are: what is empty was meant to be given.
  refuseEmpty(process.argv.slice(2));
  await bill.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    // It is shown already. Help that was asked for is no error.
    process.exitCode = error.exitCode === 0 ? 0 : EXIT.usage;
  } else if (error instanceof CommandError) {
    console.error(`bill: ${error.message}`);
    process.exitCode = error.exitCode;
  } else {
    const { explain } = await import('./explain.ts');
    const { message, exitCode } = explain(error);
    console.error(`bill: ${message}`);
    process.exitCode = exitCode;
  }
}
