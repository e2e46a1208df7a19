/** The commands that talk to a running service: organizations, recharges, events, and a test alert. */
import { randomUUID } from 'node:crypto';
import axios from 'axios';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { Webhook } from 'standardwebhooks';
import { webhookKey } from '../domain/webhook-key.ts';
import { callService, describingErrors, publicUrl, ServiceError, serviceSetting } from './service-client.ts';
import { table } from './table.ts';

type Row = Record<string, unknown>;
type List = { data: Row[]; next_cursor: string | null };
type Output = { json?: boolean };

const ORGANIZATIONS = '/api/v1/organizations';

export function addClientCommands(bill: Command): void {
  const org = bill.command('org').description('organizations');

  settingOptions(org.command('add').argument('<id>').description('a new organization'))
    .requiredOption('--customer <cus_…>', 'Stripe customer')
    .option('--team <id>', 'LiteLLM team; the id of the organization unless said')
    .requiredOption('--minimum <dollars>', 'a balance at or below this is topped up')
    .requiredOption('--target <dollars>', 'the balance that a recharge restores')
    .action(async (id: string, options: Row & Output) => {
      show(options, await callService<Row>('POST', ORGANIZATIONS, { c_organization_id: id, ...settingsIn(options) }), ORGANIZATION_COLUMNS);
    });

  paged(org.command('list').description('all of them, newest first')).action(
    async (options: Output & { limit: string; cursor?: string }) => {
      showList(options, await callService<List>('GET', ORGANIZATIONS, undefined, pageOf(options)), ORGANIZATION_COLUMNS);
    },
  );

  json(org.command('show').argument('<id>').description('one, with every setting')).action(async (id: string, options: Output) => {
    show(options, await callService<Row>('GET', `${ORGANIZATIONS}/${encodeURIComponent(id)}`));
  });

  settingOptions(org.command('set').argument('<id>').description('change settings'))
    .option('--customer <cus_…>', 'Stripe customer')
    .option('--team <id>', 'LiteLLM team')
    .option('--minimum <dollars>', 'a balance at or below this is topped up')
    .option('--target <dollars>', 'the balance that a recharge restores')
    .action(async (id: string, options: Row & Output) => {
      show(
        options,
        await callService<Row>('PATCH', `${ORGANIZATIONS}/${encodeURIComponent(id)}`, settingsIn(options)),
        ORGANIZATION_COLUMNS,
      );
    });

  json(org.command('suspend').argument('<id>').option('--reason <text>').description('charge nothing until it is resumed')).action(
    async (id: string, options: Output & { reason?: string }) => {
      const body = options.reason ? { reason: options.reason } : {};
      show(options, await callService<Row>('POST', `${ORGANIZATIONS}/${encodeURIComponent(id)}/suspend`, body), ORGANIZATION_COLUMNS);
    },
  );

  json(org.command('resume').argument('<id>').description('charge again')).action(async (id: string, options: Output) => {
    show(options, await callService<Row>('POST', `${ORGANIZATIONS}/${encodeURIComponent(id)}/resume`, {}), ORGANIZATION_COLUMNS);
  });

  paged(
    bill
      .command('recharges')
      .argument('[organization]')
      .option('--status <status>', 'only those in this status')
      .option('--needs-attention', 'only those that a person has to settle')
      .description('recharges, newest first'),
  ).action(
    async (
      organization: string | undefined,
      options: Output & { limit: string; cursor?: string; status?: string; needsAttention?: boolean },
    ) => {
      const filter = { organization_id: organization, status: options.needsAttention ? 'needs_attention' : options.status };
      showList(
        options,
        await callService<List>('GET', '/api/v1/recharges', undefined, { ...pageOf(options), ...filter }),
        RECHARGE_COLUMNS,
      );
    },
  );

  paged(bill.command('events').description('what came into the inbox, newest first'))
    .option('--org <id>', 'only of this organization')
    .option('--team <id>', 'only of this LiteLLM team')
    .option('--outcome <outcome>', 'only with this outcome')
    .action(async (options: Output & { limit: string; cursor?: string; org?: string; team?: string; outcome?: string }) => {
      const filter = { organization_id: options.org, team_id: options.team, outcome: options.outcome };
      showList(options, await callService<List>('GET', '/webhooks/events', undefined, { ...pageOf(options), ...filter }), EVENT_COLUMNS);
    });

  paged(
    bill
      .command('reversals')
      .argument('[organization]')
      .option('--needs-attention', 'only those that a person has to settle')
      .description('refunds and disputes made elsewhere, newest first, and what became of the quota'),
  ).action(async (organization: string | undefined, options: Output & { limit: string; cursor?: string; needsAttention?: boolean }) => {
    const filter = { organization_id: organization, status: options.needsAttention ? 'needs_attention' : undefined };
    const list = await callService<List>('GET', '/api/v1/reversals', undefined, { ...pageOf(options), ...filter });
    showList(options, list, REVERSAL_COLUMNS);
  });

  json(
    bill
      .command('webhook')
      .description('test alerts')
      .command('send')
      .description('post a signed test alert')
      .requiredOption('--team <id>', 'LiteLLM team')
      .option('--event <event>', "LiteLLM's event", 'budget_crossed')
      .option('--spend <dollars>', 'spend that the alert claims', number, 10.000123)
      .option('--budget <dollars>', 'max_budget that the alert claims', number, 10),
  ).action(async (options: Output & { team: string; event: string; spend: number; budget: number }) => {
    show(options, await sendTestAlert(options));
  });
}

/** LiteLLM's alert as it sends it, signed as Standard Webhooks with the first of the service's secrets. */
async function sendTestAlert({ team, event, spend, budget }: { team: string; event: string; spend: number; budget: number }): Promise<Row> {
  const body = JSON.stringify({
    spend,
    max_budget: budget,
    team_id: team,
    team_alias: team,
    event_group: 'team',
    event,
    event_message: 'a test alert',
  });
  const [secret] = serviceSetting('WEBHOOK_HMAC_SECRETS')
    .split(',')
    .flatMap((item) => item.trim() || []);
  if (!secret) throw new ServiceError('WEBHOOK_HMAC_SECRETS holds no secret to sign with');
  const id = `msg_${randomUUID()}`;
  const now = new Date();
  const signature = new Webhook(webhookKey(secret), { format: 'raw' }).sign(id, now, body);
  const headers = {
    'content-type': 'application/json',
    'webhook-id': id,
    'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
    'webhook-signature': signature,
  };
  return describingErrors(async () => (await axios.post(`${publicUrl()}/webhooks/litellm/limit-exceeded`, body, { headers })).data);
}

const ORGANIZATION_COLUMNS = [
  'c_organization_id',
  'litellm_team_id',
  'stripe_customer_id',
  'minimum_balance',
  'target_balance',
  'auto_recharge_enabled',
  'suspended_at',
];
const RECHARGE_COLUMNS = ['created_at', 'organization_id', 'amount', 'currency', 'status', 'quota_before', 'quota_after', 'id'];
const REVERSAL_COLUMNS = ['created_at', 'organization_id', 'recharge_id', 'amount', 'currency', 'status', 'quota', 'id'];
const EVENT_COLUMNS = ['received_at', 'organization_id', 'team_id', 'event_type', 'source', 'outcome', 'id'];

function json(command: Command): Command {
  return command.option('--json', 'machine-readable output');
}

function paged(command: Command): Command {
  return json(command).option('--limit <n>', 'at most this many', '20').option('--cursor <cursor>', 'go on where a page ended');
}

function pageOf({ limit, cursor }: { limit: string; cursor?: string }): object {
  return { limit, cursor };
}

function settingOptions(command: Command): Command {
  return json(command)
    .option('--name <name>', 'for people')
    .option('--currency <code>', 'of the charges')
    .option('--quota-per-unit <dollars>', 'LiteLLM dollars that one unit of the currency buys')
    .addOption(new Option('--auto-recharge <on|off>', 'charge without being asked').choices(['on', 'off']))
    .option('--max-daily <n>', 'attempts a day in the time zone', number)
    .option('--max-monthly <amount>', 'the most that a month may cost, in the currency; "none" for no limit')
    .option('--time-zone <zone>', 'IANA name, for the days and months of the limits')
    .addOption(new Option('--blocked <on|off>', 'have LiteLLM refuse the team').choices(['on', 'off']));
}

function number(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('It is not a number.');
  return value;
}

function settingsIn(options: Row): Row {
  const settings = {
    name: options['name'],
    stripe_customer_id: options['customer'],
    litellm_team_id: options['team'],
    currency: options['currency'],
    minimum_balance: options['minimum'],
    target_balance: options['target'],
    quota_per_unit: options['quotaPerUnit'],
    auto_recharge_enabled: options['autoRecharge'] === undefined ? undefined : options['autoRecharge'] === 'on',
    max_daily_recharges: options['maxDaily'],
    max_monthly_amount: options['maxMonthly'] === 'none' ? null : options['maxMonthly'],
    time_zone: options['timeZone'],
    blocked: options['blocked'] === undefined ? undefined : options['blocked'] === 'on',
  };
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
}

function show(options: Output, row: Row, columns = Object.keys(row)): void {
  const width = Math.max(...columns.map((column) => column.length));
  const lines = columns.map((column) => `${column.padEnd(width)}  ${cell(row[column])}`);
  console.log(options.json ? JSON.stringify(row, null, 2) : lines.join('\n'));
}

function showList(options: Output, list: List, columns: string[]): void {
  const rows = list.data.map((row) => Object.fromEntries(columns.map((column) => [column, cell(row[column])])));
  const more = list.next_cursor ? `\n\nmore: --cursor ${list.next_cursor}` : '';
  console.log(options.json ? JSON.stringify(list, null, 2) : table(rows) + more);
}

function cell(value: unknown): string {
  return value === null || value === undefined ? '-' : typeof value === 'object' ? JSON.stringify(value) : String(value);
}
