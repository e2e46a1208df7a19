import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { SandboxServer } from '../../sandbox/http.ts';
import { startLitellm } from '../../sandbox/litellm/server.ts';
import { LitellmClient } from './litellm-client.ts';
import { WebhookReceiver } from './webhook-receiver.ts';

/** LiteLLM's alert but for the hash of the key, about a team that spent 10.25 of 10 dollars. */
const ALERT = {
  spend: 10.25,
  max_budget: 10,
  soft_budget: null,
  customer_id: null,
  user_id: 'u1',
  team_id: 't1',
  team_alias: 'acme',
  organization_id: null,
  user_email: null,
  key_alias: null,
  projected_exceeded_date: null,
  projected_spend: null,
  event_group: 'team',
  alert_emails: null,
  max_budget_alert_emails: null,
  event: 'budget_crossed',
  event_message: 'Team Budget: Budget Crossed\n Total Budget:`10.0`',
};

let webhook: WebhookReceiver;
let server: SandboxServer;
let litellm: LitellmClient;

beforeEach(async () => {
  webhook = await WebhookReceiver.start();
  server = await startLitellm({ port: 0, spend_lag_ms: 0, webhook_url: `${webhook.url}/hook?token=x` });
  litellm = new LitellmClient(server.url);
});
afterEach(async () => {
  jest.restoreAllMocks();
  await server.close();
  await webhook.stop();
});

describe('the alert', () => {
  test('is the body that LiteLLM sends, every null present', async () => {
    const key = await litellm.teamWithKey({ team_id: 't1', team_alias: 'acme', max_budget: 10 }, { user_id: 'u1' });
    await litellm.chat(key, 10.25);
    await litellm.chat(key);
    const [delivery] = await webhook.received(1);
    expect(delivery?.path).toBe('/hook?token=x');
    expect(delivery?.headers).toMatchObject({ 'content-type': 'application/json', 'user-agent': 'litellm/1.100.5' });
    expect(JSON.parse(delivery?.body ?? '')).toEqual({ ...ALERT, token: Object.keys((await litellm.state()).keys)[0] });
  });

  test('is not sent when the budget is exactly used up, though requests are refused', async () => {
    const key = await litellm.teamWithKey({ team_id: 't1', max_budget: 1 });
    await litellm.chat(key, 1);
    expect((await litellm.chat(key)).status).toBe(429);
    expect((await litellm.state()).alerts).toEqual([]);
  });

  test('of a reservation that does not fit says crossed, with all of the budget spent, while money is left', async () => {
    await litellm.knob('settings', { call_reservation: 0.25 });
    const key = await litellm.teamWithKey({ team_id: 't1', max_budget: 1 });
    expect((await litellm.chat(key, 0.75)).status).toBe(200);
    expect((await litellm.chat(key, 0.0625)).status).toBe(200);
    expect((await litellm.chat(key, 0.0625)).status).toBe(429);
    const [delivery] = await webhook.received(1);
    expect(JSON.parse(delivery?.body ?? '')).toMatchObject({ event: 'budget_crossed', spend: 1, max_budget: 1 });
    expect((await litellm.info('t1')).team_info.spend).toBe(0.8125);
  });

  test('is not repeated for a day after a 2xx, not even for a new budget', async () => {
    webhook.statuses = [202];
    const key = await litellm.overBudget('t1');
    await litellm.alertsAnswered(1);
    await litellm.chat(key);
    await litellm.post('/team/update', { team_id: 't1', max_budget: 5 });
    await litellm.knob('teams/t1/spend', { amount: 10 });
    expect((await litellm.chat(key)).status).toBe(429);
    expect((await litellm.state()).alerts).toHaveLength(1);

    const later = Date.now() + 86_400_001;
    jest.spyOn(Date, 'now').mockReturnValue(later);
    await litellm.chat(key);
    await webhook.received(2);
  });

  test('comes again at once when the silence is forgotten', async () => {
    const key = await litellm.overBudget('t1');
    await litellm.alertsAnswered(1);
    await litellm.knob('alerts/forget');
    await litellm.chat(key);
    await webhook.received(2);
  });

  test('is silenced for that team alone', async () => {
    await litellm.overBudget('t1');
    await litellm.alertsAnswered(1);
    await litellm.overBudget('t2');
    const teams = (await webhook.received(2)).map(({ body }) => JSON.parse(body).team_id);
    expect(teams).toEqual(['t1', 't2']);
  });

  test('that was answered with an error is sent again by the next refused request, and only then', async () => {
    webhook.statuses = [500, 404, 200];
    const key = await litellm.overBudget('t1');
    await litellm.alertsAnswered(1);
    expect(webhook.deliveries).toHaveLength(1);
    await litellm.chat(key);
    await litellm.alertsAnswered(2);
    await litellm.chat(key);
    await litellm.alertsAnswered(3);
    await litellm.chat(key);
    expect((await litellm.state()).alerts.map(({ status }) => status)).toEqual([500, 404, 200]);
  });

  test('follows a 307 with a second POST', async () => {
    webhook.statuses = [307, 200];
    await litellm.overBudget('t1');
    const [, again] = await webhook.received(2);
    expect(again).toMatchObject({ method: 'POST', path: '/moved' });
    expect(JSON.parse(again?.body ?? '').team_id).toBe('t1');
  });

  test('comes in several copies that differ only in spend', async () => {
    await litellm.knob('settings', { alert_copies: 3 });
    await litellm.overBudget('t1');
    const bodies = (await webhook.received(3)).map(({ body }) => JSON.parse(body));
    expect(new Set(bodies.map(({ spend }) => spend)).size).toBe(3);
    expect(new Set(bodies.map((body) => JSON.stringify({ ...body, spend: 0 }))).size).toBe(1);
  });

  test('does not hold up the refused request when the webhook hangs', async () => {
    webhook.hangs = true;
    const key = await litellm.overBudget('t1');
    await webhook.received(1);
    expect((await litellm.chat(key)).status).toBe(429);
    expect((await litellm.state()).alerts[0]?.status).toBeNull();
  });

  test('can be turned off', async () => {
    await litellm.knob('alerts', { enabled: false });
    const key = await litellm.overBudget('t1');
    expect((await litellm.state()).alerts).toEqual([]);
    await litellm.knob('alerts', { enabled: true });
    await litellm.chat(key);
    await webhook.received(1);
  });

  test('waits for an address', async () => {
    await litellm.knob('settings', { webhook_url: null });
    const key = await litellm.overBudget('t1');
    await litellm.knob('settings', { webhook_url: `${webhook.url}/later` });
    await litellm.chat(key);
    expect((await webhook.received(1))[0]?.path).toBe('/later');
  });
});
