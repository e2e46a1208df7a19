/** `bill hold`, `bill holds`, `bill release`: what stops charges. */
import { userInfo } from 'node:os';
import type { Command } from 'commander';
import { EXIT, usageError } from '../exit.ts';
import { forPeople, type List, type Output, type Paged, pageOf, print, printList, type Row, withJson, withPages } from '../output.ts';
import { callService, ServiceError } from '../service-client.ts';
import { holdText, type Reach, type ShownHold, seenBy } from './show.ts';

type HoldOptions = Output & { until?: string; service?: boolean };

const HOLDS = '/api/v1/holds';
const COLUMNS = ['since', 'scope', 'subject', 'organization_id', 'reason', 'until', 'detail', 'ended_by', 'id'];

export function addHoldCommands(bill: Command): void {
  withJson(
    bill
      .command('hold')
      .argument('<organization-or-reason>', 'an organization, then the reason; a sentence alone holds the whole service')
      .argument('[reason]')
      .option('--service', 'of the whole service, also where the reason is a single word')
      .option('--until <time>', 'when it ends by itself, such as 2026-12-01T00:00:00Z')
      .description('stop new charges of one organization, or of all: what is taken already goes on to its end'),
  ).action(async (first: string, second: string | undefined, options: HoldOptions) => {
    if (options.service && second !== undefined) throw usageError('--service holds all of them: leave the organization out');
    if (second === undefined && !options.service) await refuseHalf(first);
    const of = second === undefined ? { scope: 'service', reason: first } : { scope: 'organization', subject: first, reason: second };
    const body = { ...of, until: options.until ?? null, by: userInfo().username };
    const hold = await callService<ShownHold>('POST', HOLDS, { body });
    print(options, hold, () => `${whatIsStopped(hold)}\n${holdText(hold)}`);
  });

  withPages(bill.command('holds').argument('[organization]').description('what stops charges now, why, and what ends it'))
    .option('--all', 'those that have ended too')
    .action(async (organization: string | undefined, options: Paged & { all?: boolean }) => {
      const query = { ...pageOf(options), organization_id: organization, open: options.all ? undefined : 'true' };
      const columns = options.all ? [...COLUMNS, 'released_at', 'released_by', 'release_reason'] : COLUMNS;
      const list = await callService<List>('GET', HOLDS, { query });
      printList(
        options,
        forPeople(options, list, (row) => ({ ...row, subject: row['subject'] || 'everything', detail: seenBy(row as Row & Reach) })),
        columns,
      );
    });

  withJson(
    bill
      .command('release')
      .argument('<hold>', 'as `bill holds` shows it')
      .argument('<reason>')
      .description('end a hold; the reason is kept'),
  ).action(async (id: string, reason: string, options: Output) => {
    const body = { reason, by: userInfo().username };
    const released = await callService<ShownHold>('POST', `${HOLDS}/${encodeURIComponent(id)}/release`, { body });
    print(options, released, () => holdText(released));
    if (!options.json && released['organization_id']) await tellCharge(String(released['organization_id']));
  });
}

function whatIsStopped({ scope, subject }: ShownHold): string {
  const whose = scope === 'service' ? 'of the whole service, whatever the organization' : `of ${subject}`;
  return `No new charges ${whose}; what is taken already goes on to its end.`;
}

/** What is charged now that the hold has ended, or that it cannot be foreseen; it goes to the other stream. */
async function tellCharge(organizationId: string): Promise<void> {
  const path = `/api/v1/organizations/${encodeURIComponent(organizationId)}/outlook`;
  const outlook = await callService<Record<string, string | null>>('GET', path).catch((error: Error) => error);
  if (outlook instanceof Error) return console.error(`what is charged now cannot be foreseen: ${outlook.message}`);
  if (outlook['would'] !== 'charge') return;
  const { amount, currency, balance, waits_for: stop } = outlook;
  const when = stop ? `when this is put right: ${stop}` : 'within a minute';
  console.error(
    `the balance is ${balance} USD, so the card is asked for ${amount} ${currency?.toUpperCase()} ${when}; to stop it: bill hold ${organizationId} "reason"`,
  );
}

/**
 * An organization without a reason, mistyped or not, is half a command: it must not hold the whole service, with its
 * name as the reason. A reason is a sentence, or begins at least with no name of an organization.
 */
async function refuseHalf(given: string): Promise<void> {
  const [name = '', ...rest] = given.trim().split(/\s+/);
  const absence = name === '' ? 'there is no reason' : await absenceOf(name);
  if (absence !== undefined && rest.length > 0) return;
  const what = absence ?? `${name} is an organization`;
  const of = absence === undefined ? name : '<organization>';
  throw usageError(
    `${what}. To hold one organization: bill hold ${of} "reason". To hold the whole service: bill hold --service "${given || 'reason'}"`,
  );
}

/** Why nothing has the name, with those that may be meant; undefined: it is an organization. */
async function absenceOf(name: string): Promise<string | undefined> {
  try {
    await callService<Row>('GET', `/api/v1/organizations/${encodeURIComponent(name)}`);
    return undefined;
  } catch (error) {
    if (error instanceof ServiceError && error.exitCode === EXIT.usage) return error.message.replace(/^[^:]*: /, '');
    throw error;
  }
}
