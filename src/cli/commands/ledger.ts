/** `bill ledger verify`: recomputes the chains of transfers. */
import type { Command } from 'commander';
import { EXIT } from '../exit.ts';
import { type Output, print, withJson } from '../output.ts';
import { elsewhereText, placeText } from '../places.ts';
import { serviceSetting } from '../service-settings.ts';
import { counted } from '../units.ts';

export function addLedgerCommands(bill: Command): void {
  withJson(
    bill
      .command('ledger')
      .description('the ledger')
      .command('verify')
      .description("recompute every organization's chain of transfers; ends with 3 when one was changed, removed or moved")
      .option('--org <id>', 'only this organization'),
  ).action(verify);
}

async function verify({ org, ...options }: Output & { org?: string }): Promise<void> {
  const { Database } = await import('../../database/database.ts');
  const ledger = await import('../../database/ledger.ts');
  const names = await import('../../database/names.ts');
  const { databasePlace } = await import('../database-place.ts');
  const address = serviceSetting('DATABASE_URL');
  const place = databasePlace(address);
  const elsewhere = elsewhereText(place);
  if (elsewhere && !options.json) console.error(`warning: this reads the database ${placeText(place)}; ${elsewhere}.`);
  const database = await Database.open(address);
  try {
    if (org !== undefined) await names.requireOrganizationOfRows(database.fork(), org);
    const { transfers, faults } = await ledger.verify(database.fork(), org);
    const found = faults.map(({ organizationId, sequence, transferId, fault }) => ({
      organization_id: organizationId,
      sequence,
      transfer_id: transferId,
      fault,
    }));
    if (found.length > 0) process.exitCode = EXIT.found;
    print(options, { database: place, transfers, faults: found }, () =>
      [
        ...found.map(({ organization_id, sequence, fault }) => `${organization_id}  transfer ${sequence}: ${fault}`),
        `${counted(transfers, 'transfer')} verified, ${counted(found.length, 'fault')}, in the database ${placeText(place)}`,
      ].join('\n'),
    );
  } finally {
    await database.close();
  }
}
