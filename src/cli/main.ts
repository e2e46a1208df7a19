/** `bill`: every command of the service. What a command needs is imported when it is asked for, so that small ones are quick. */
import { Command } from 'commander';
import { addClientCommands } from './client-commands.ts';
import { addOperatorCommands } from './operator-commands.ts';

const bill = new Command('bill').description('Keeps LiteLLM teams funded.').showHelpAfterError();

bill
  .command('dev')
  .description('the whole service on this machine, with stand-ins for Stripe and LiteLLM')
  .option('--fresh', 'start over: forget everything under .data')
  .option('--no-traffic', 'no simulated spending')
  .action(async (options: { fresh?: boolean; traffic: boolean }) => {
    const { dev } = await import('./dev/dev.ts');
    await dev({ fresh: options.fresh ?? false, traffic: options.traffic });
  });

bill
  .command('serve')
  .description('the API with the inbox dispatcher; any number of them')
  .action(async () => (await import('./run.ts')).serve());

bill
  .command('worker')
  .description('a Temporal worker; any number of them')
  .action(async () => (await import('./run.ts')).work());

bill
  .command('migrate')
  .description('database migrations, search attributes and schedules; idempotent')
  .action(async () => (await import('./run.ts')).migrateOnce());

bill
  .command('doctor')
  .description('looks at everything that the service needs, and says what has to be changed; then it ends with 1')
  .option('--json', 'machine-readable output')
  .action(async ({ json = false }: { json?: boolean }) => (await import('./doctor/doctor.ts')).doctor({ json }));

addClientCommands(bill);
addOperatorCommands(bill);

try {
  await bill.parseAsync();
} catch (error) {
  console.error(`bill: ${(error as Error).message}`);
  process.exitCode = 1;
}
