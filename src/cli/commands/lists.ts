/** `bill recharges`, `bill reversals` and `bill events`: what has happened, newest first. */
import { type Command, Option } from 'commander';
import { forPeople, type List, type Paged, pageOf, printList, type Row, withPages } from '../output.ts';
import { callService } from '../service-client.ts';
import { withUnits } from '../units.ts';
import { type ShownRecharge, statusWithReturned } from './show.ts';

const RECHARGE_COLUMNS = ['created_at', 'organization_id', 'amount', 'status', 'quota_before', 'quota_after', 'reason', 'id'];
const STUCK_COLUMNS = ['created_at', 'organization_id', 'amount', 'status', 'payment_intent_id', 'reason', 'command'];
const REVERSAL_COLUMNS = ['created_at', 'organization_id', 'kind', 'reason', 'recharge_id', 'amount', 'status', 'quota', 'id'];
const EVENT_COLUMNS = ['received_at', 'organization_id', 'team_id', 'event_type', 'source', 'outcome', 'id'];

export function addListCommands(bill: Command): void {
  withPages(withNeedsAttention(bill.command('recharges').argument('[organization]').description('recharges, newest first')))
    .option('--stuck', 'only those that are not settled after 15 minutes, with the command that settles each')
    .option('--status <status>', 'only those in this status')
    .action(async (organization: string | undefined, options: Paged & { status?: string; needsAttention?: boolean; stuck?: boolean }) => {
      const status = options.needsAttention ? 'needs_attention' : options.status;
      const query = { ...pageOf(options), organization_id: organization, status, ...(options.stuck && { stuck: 'true' }) };
      const list = await callService<List>('GET', '/api/v1/recharges', { query });
      if (options.stuck) {
        const stuck = { ...list, data: list.data.map(withCommand) };
        printList(
          options,
          forPeople(options, stuck, (row) => inUnits(withReason(row))),
          STUCK_COLUMNS,
        );
      } else
        printList(
          options,
          forPeople(options, list, (row) => inUnits(withReason(withReturned(row)))),
          RECHARGE_COLUMNS,
        );
    });

  withPages(
    withNeedsAttention(
      bill
        .command('reversals')
        .argument('[organization]')
        .description('refunds and disputes made elsewhere, newest first, and what became of the quota'),
    ),
  ).action(async (organization: string | undefined, options: Paged & { needsAttention?: boolean }) => {
    const query = { ...pageOf(options), organization_id: organization, status: options.needsAttention ? 'needs_attention' : undefined };
    const list = await callService<List>('GET', '/api/v1/reversals', { query });
    printList(
      options,
      forPeople(options, list, (row) => inUnits({ ...row, reason: row['failure'] ?? row['reason'] })),
      REVERSAL_COLUMNS,
    );
  });

  withPages(bill.command('events').description('what came into the inbox, newest first'))
    .option('--org <id>', 'only of this organization')
    .option('--team <id>', 'only of this LiteLLM team')
    .option('--outcome <outcome>', 'only with this outcome')
    .action(async (options: Paged & { org?: string; team?: string; outcome?: string }) => {
      const query = { ...pageOf(options), organization_id: options.org, team_id: options.team, outcome: options.outcome };
      printList(options, await callService<List>('GET', '/webhooks/events', { query }), EVENT_COLUMNS);
    });
}

function inUnits(row: Row): Row {
  return withUnits(row, { money: ['amount'], dollars: ['quota', 'quota_before', 'quota_after'] });
}

function withReturned(recharge: Row): Row {
  return { ...recharge, status: statusWithReturned(recharge as ShownRecharge) };
}

type Failure = { message: string; code: string | null; decline_code: string | null };

/** Why a recharge has brought no quota, or needs a person, in words; of a decline with the card's own code. */
function withReason(recharge: Row): Row {
  const failure = recharge['failure'] as Failure | null;
  if (failure === null) return { ...recharge, reason: null };
  const code = failure.decline_code ?? failure.code;
  return { ...recharge, reason: `${failure.message.replace(/\.$/, '')}${code ? ` (${code})` : ''}` };
}

function withCommand(recharge: Row): Row {
  // In one line, and no pipe of a shell.
  const choices = (recharge['resolutions'] as string[]).map((resolution) => `--${resolution} "reason"`).join(', or ');
  return { ...recharge, command: `bill resolve ${recharge['id']} ${choices}` };
}

function withNeedsAttention(command: Command): Command {
  return command.addOption(new Option('--needs-attention', 'only those that a person has to settle').conflicts('status'));
}
