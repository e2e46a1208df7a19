/** `bill ledger verify`: recomputes the chains of transfers. */
import type { Command } from 'commander';
import { serviceSetting } from '../service-client.ts';

export function addLedgerCommands(bill: Command): void {
  bill
    .command('ledger')
    .description('the ledger')
    .command('verify')
    .description("recompute every organization's chain of transfers; ends with 1 when one was changed, removed or moved")
    .option('--org <id>', 'only this organization')
    .action(async ({ org }: { org?: string }) => verify(org));
}

async function verify(organizationId: string | undefined): Promise<void> {
  const { Database } = await import('../../database/database.ts');
  const ledger = await import('../../database/ledger.ts');
  const database = await Database.open(serviceSetting('DATABASE_URL'));
  try {
    const { transfers, faults } = await ledger.verify(database.fork(), organizationId);
    for (const { organizationId: id, sequence, fault } of faults) console.log(`${id}  transfer ${sequence}: ${fault}`);
    console.log(`${transfers} transfers verified, ${faults.length} faults`);
    if (faults.length > 0) process.exitCode = 1;
  } finally {
    await database.close();
  }
}
