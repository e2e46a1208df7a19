/** `bill hold`, `bill holds`, `bill release`: what stops charges. */
import { userInfo } from 'node:os';
import type { Command } from 'commander';
import { EXIT, usageError } from '../exit.ts';
import { type List, type Output, type Paged, pageOf, printList, printRow, type Row, withJson, withPages } from '../output.ts';
import { callService, ServiceError } from '../service-client.ts';

const HOLDS = '/api/v1/holds';
const COLUMNS = ['since', 'scope', 'subject', 'organization_id', 'reason', 'until', 'detail', 'ended_by', 'id'];

export function addHoldCommands(bill: Command): void {
  withJson(
    bill
      .command('hold')
      .argument('<organization-or-reason>', 'an organization, then the reason; the reason alone holds the whole service')
      .argument('[reason]')
      .option('--until <time>', 'when it ends by itself, such as 2026-12-01T00:00:00Z')
      .description('stop new charges of one organization, or of all: what is taken already goes on to its end'),
  ).action(async (first: string, second: string | undefined, options: Output & { until?: string }) => {
    if (second === undefined) await refuseOrganization(first);
    const of = second === undefined ? { scope: 'service', reason: first } : { scope: 'organization', subject: first, reason: second };
    const body = { ...of, until: options.until ?? null, by: userInfo().username };
    printRow(options, await callService<Row>('POST', HOLDS, { body }), COLUMNS);
  });

  withPages(bill.command('holds').argument('[organization]').description('what stops charges now, why, and what ends it'))
    .option('--all', 'those that have ended too')
    .action(async (organization: string | undefined, options: Paged & { all?: boolean }) => {
      const query = { ...pageOf(options), organization_id: organization, open: options.all ? undefined : 'true' };
      const columns = options.all ? [...COLUMNS, 'released_at', 'released_by', 'release_reason'] : COLUMNS;
      printList(options, await callService<List>('GET', HOLDS, { query }), columns);
    });

  withJson(
    bill
      .command('release')
      .argument('<hold>', 'as `bill holds` shows it')
      .argument('<reason>')
      .description('end a hold; the reason is kept'),
  ).action(async (id: string, reason: string, options: Output) => {
    const body = { reason, by: userInfo().username };
    printRow(options, await callService<Row>('POST', `${HOLDS}/${encodeURIComponent(id)}/release`, { body }), [
      ...COLUMNS,
      'released_at',
      'released_by',
    ]);
  });
}

/** An organization without a reason is half a command: it must not hold the whole service, with its name as the reason. */
async function refuseOrganization(name: string): Promise<void> {
  const found = await callService<Row>('GET', `/api/v1/organizations/${encodeURIComponent(name)}`).catch((error) => {
    if (error instanceof ServiceError && error.exitCode === EXIT.usage) return undefined;
    throw error;
  });
  if (found) throw usageError(`${name} is an organization: give the reason too, bill hold ${name} "reason"`);
}
