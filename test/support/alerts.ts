/** LiteLLM's alert, and how it is signed. */
import { createHmac } from 'node:crypto';

export const HMAC_SECRET = 'test-hmac-secret-of-litellm';
export const URL_TOKEN = 'test-url-token-of-litellm';

export type AlertWish = { body?: Record<string, unknown> | string; id?: string; headers?: Record<string, string> };

/** The alert as LiteLLM 1.100.5 sends it, with every null present. */
export function alertBody(teamId: string): Record<string, unknown> {
  return {
    spend: 10.500123,
    max_budget: 10.0,
    soft_budget: null,
    token: '88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b',
    customer_id: null,
    user_id: 'u1',
    team_id: teamId,
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
}

export function standardWebhookHeaders(
  body: string,
  id: string,
  { secret = HMAC_SECRET, at = Math.floor(Date.now() / 1000) } = {},
): Record<string, string> {
  const signature = createHmac('sha256', secret).update(`${id}.${at}.${body}`).digest('base64');
  return { 'webhook-id': id, 'webhook-timestamp': String(at), 'webhook-signature': `v1,${signature}` };
}
