/** `bill webhook send`: a test alert. */
import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { Webhook } from 'standardwebhooks';
import { crossingOf } from '../../domain/crossing.ts';
import { webhookKey } from '../../domain/webhook-key.ts';
import { number } from '../arguments.ts';
import { CommandError, EXIT, usageError } from '../exit.ts';
import { type List, type Output, printRow, type Row, withJson } from '../output.ts';
import { answerOf, callService } from '../service-client.ts';
import { publicUrl, serviceSetting } from '../service-settings.ts';
import { withUnits } from '../units.ts';

type TestAlert = { team: string; event: string; spend: number; budget: number };

export function addWebhookCommands(bill: Command): void {
  withJson(
    bill
      .command('webhook')
      .description('test alerts')
      .command('send')
      .description('post a signed alert of your own; it is handled like any other, so a team whose balance is low is charged')
      .requiredOption('--team <id>', 'LiteLLM team')
      .option('--event <event>', "LiteLLM's event", 'budget_crossed')
      .option('--spend <dollars>', 'spend that the alert claims', number, 10.000123)
      .option('--budget <dollars>', 'max_budget that the alert claims', number, 10)
      .option('--dry-run', 'say what an alert of the team would lead to now, and send none'),
  ).action(async (options: Output & TestAlert & { dryRun?: boolean }) => {
    if (!options.dryRun) return send(options);
    const outlook = await outlookOf(options);
    if (outlook['reason'] === 'unknown_team') throw usageError(String(outlook['why']));
    printOutlook(options, outlook);
  });
}

/**
 * What it leads to goes to the other stream: it is computed before, because the charge that follows changes it.
 *
 * @throws CommandError for a team that no organization has, mistyped or not: an alert of it comes to nothing.
 */
async function send(options: Output & TestAlert): Promise<void> {
  // Without an admin key nobody can be asked, and the alert needs none.
  let unforeseen = '';
  const outlook = await outlookOf(options).catch((error: Error) => {
    unforeseen = error.message;
  });
  if (outlook?.['reason'] === 'unknown_team') throw usageError(`${outlook['why']}. Nothing was sent.`);
  const sent = await sendTestAlert(options);
  printRow(options, sent);
  if (sent['status'] === 'duplicate' && !options.json)
    console.error(`an event of ${options.team} is open already, and this one counts as the same: bill events show ${sent['event_id']}`);
  if (unforeseen && !options.json) console.error(`what follows cannot be foreseen: ${unforeseen}`);
  const isNew = sent['status'] === 'accepted' || sent['status'] === 'ignored';
  if (outlook && isNew && !options.json) console.error(consequenceOf(outlook, String(sent['event_id'])));
}

function consequenceOf({ would, amount, currency, balance, why, waits_for: stop }: Row, eventId: string): string {
  const follow = `bill events show ${eventId} says what has become of it`;
  const when = stop ? `when this is put right: ${stop}` : 'now';
  if (would === 'charge')
    return `the balance is ${balance} USD, so ${amount} ${String(currency).toUpperCase()} is charged ${when}; ${follow}`;
  return `${would === 'hold' ? 'a hold opens, and nothing is charged' : 'nothing is charged'}: ${why}; ${follow}`;
}

/** What the service would do about it now: the same rules as a recharge's, on the live balance, the card and the holds. */
async function outlookOf(alert: TestAlert): Promise<Row> {
  const nothing = { litellm_team_id: alert.team, would: 'refuse' };
  if (crossingOf(bodyOf(alert)) === undefined) {
    return { ...nothing, reason: 'ignored', why: `${alert.event} asks for nothing, so it is stored and that is all` };
  }
  const { data } = await callService<List>('GET', '/api/v1/organizations', { query: { litellm_team_id: alert.team } });
  const [organization] = data;
  if (organization)
    return callService<Row>('GET', `/api/v1/organizations/${encodeURIComponent(String(organization['c_organization_id']))}/outlook`);
  return {
    ...nothing,
    reason: 'unknown_team',
    why: `no organization has the LiteLLM team ${alert.team}: bill org list shows those that there are, bill org add makes one`,
  };
}

/** What applies of it. */
function printOutlook(options: Output, outlook: Row): void {
  const columns = ['c_organization_id', 'litellm_team_id', 'would', 'amount', 'quota', 'balance', 'reason', 'why', 'waits_for'];
  const shown = withUnits(outlook, { money: ['amount'], dollars: ['quota', 'balance'] });
  printRow(
    options,
    options.json ? outlook : shown,
    columns.filter((column) => (outlook[column] ?? null) !== null),
  );
}

/** LiteLLM's alert as it sends it. */
function bodyOf({ team, event, spend, budget }: TestAlert): Record<string, unknown> {
  return { spend, max_budget: budget, team_id: team, team_alias: team, event_group: 'team', event, event_message: 'a test alert' };
}

/** Signed as Standard Webhooks with the first of the service's secrets. */
async function sendTestAlert(alert: TestAlert): Promise<Row> {
  const body = JSON.stringify(bodyOf(alert));
  const [secret] = serviceSetting('WEBHOOK_HMAC_SECRETS')
    .split(',')
    .flatMap((item) => item.trim() || []);
  if (!secret) throw new CommandError('WEBHOOK_HMAC_SECRETS holds no secret to sign with: set one', EXIT.settings);
  const id = `msg_${randomUUID()}`;
  const now = new Date();
  const signature = new Webhook(webhookKey(secret), { format: 'raw' }).sign(id, now, body);
  const headers = {
    'content-type': 'application/json',
    'webhook-id': id,
    'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
    'webhook-signature': signature,
  };
  return answerOf<Row>(`${publicUrl()}/webhooks/litellm/limit-exceeded`, 'WEBHOOK_HMAC_SECRETS', { method: 'POST', body, headers });
}
