/** `bill`: every command of the service. */
import { Command } from 'commander';
import { createLogger } from '../observability/log.ts';
import { startApi, startWorker } from '../service.ts';
import { installTemporalLogger } from '../temporal/worker.ts';
import { addClientCommands } from './client-commands.ts';
import { migrate } from './migrate.ts';
import { addOperatorCommands } from './operator-commands.ts';
import { configOrExit, stopOnSignal } from './process.ts';

const bill = new Command('bill').description('Keeps LiteLLM teams funded.').showHelpAfterError();

bill
  .command('dev')
  .description('the whole service on this machine, with stand-ins for Stripe and LiteLLM')
  .option('--fresh', 'start over: forget everything under .data')
  .option('--no-traffic', 'no simulated spending')
  .action(async (options: { fresh?: boolean; traffic: boolean }) => {
    // Imported when asked for: what it brings along is not part of an installation that serves.
    const { dev } = await import('./dev/dev.ts');
    await dev({ fresh: options.fresh ?? false, traffic: options.traffic });
  });

bill
  .command('serve')
  .description('the API with the inbox dispatcher; any number of them')
  .action(async () => {
    const config = configOrExit();
    const log = createLogger(config.logLevel);
    stopOnSignal(await startApi(config, log), () => log.info('stopping'));
  });

bill
  .command('worker')
  .description('a Temporal worker; any number of them')
  .action(async () => {
    const config = configOrExit();
    const log = createLogger(config.logLevel);
    installTemporalLogger(log);
    const worker = await startWorker(config, log, (error) => {
      log.fatal({ reason: error.message }, 'the worker has failed');
      process.exit(1);
    });
    stopOnSignal(worker, () => log.info('stopping'));
  });

bill
  .command('migrate')
  .description('database migrations, search attributes and schedules; idempotent')
  .action(async () => {
    const config = configOrExit();
    await migrate(config, createLogger(config.logLevel));
  });

addClientCommands(bill);
addOperatorCommands(bill);

try {
  await bill.parseAsync();
} catch (error) {
  console.error(`bill: ${(error as Error).message}`);
  process.exitCode = 1;
}
