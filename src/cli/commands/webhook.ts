/** `bill webhook send`: a test alert. */
import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { Webhook } from 'standardwebhooks';
import { webhookKey } from '../../domain/webhook-key.ts';
import { number } from '../arguments.ts';
import { CommandError, EXIT } from '../exit.ts';
import { type Output, printRow, type Row, withJson } from '../output.ts';
import { answerOf, publicUrl, serviceSetting } from '../service-client.ts';

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
      .option('--budget <dollars>', 'max_budget that the alert claims', number, 10),
  ).action(async (options: Output & TestAlert) => {
    printRow(options, await sendTestAlert(options));
  });
}

/** LiteLLM's alert as it sends it, signed as Standard Webhooks with the first of the service's secrets. */
async function sendTestAlert({ team, event, spend, budget }: TestAlert): Promise<Row> {
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
