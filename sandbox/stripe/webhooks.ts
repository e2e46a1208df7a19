/**
 * Events to webhook endpoints: signed, retried after anything but a 2xx, in no order, at least once.
 * https://docs.stripe.com/webhooks
 */
import { createHmac } from 'node:crypto';
import type { Account } from './account.ts';
import { invalidParameter } from './errors.ts';
import { newId, now, type StripeEvent, type WebhookEndpoint } from './objects.ts';
import type { Parameters } from './parameters.ts';

/** Stripe retries for three days; here for half a minute, so that a demo sees the end of it. */
const RETRY_DELAYS_MS = [200, 400, 800, 1600, 3200, 6400, 12_800];
const DELIVERY_TIMEOUT_MS = 10_000;
/** A slow endpoint is not met with every event at once. */
const MAX_CONCURRENT_DELIVERIES = 20;
/** Deliveries waiting for their turn; beyond it the oldest is given up, and the event can be resent. */
const MAX_QUEUED_DELIVERIES = 10_000;
/** Newest attempts that the state shows. */
const MAX_DELIVERY_LOG = 10_000;

export type Delivery = {
  event: string;
  type: string;
  url: string;
  /** From 1. */
  attempt: number;
  /** HTTP status; absent when no answer came, and `error` then says why. */
  status?: number;
  error?: string;
  delivered_at_ms: number;
};

type Job = { event: StripeEvent; endpoint: WebhookEndpoint; attempt: number };

export class WebhookSender {
  /** Off, every event is lost to its endpoints, as in an outage that outlasts Stripe's retries. */
  enabled = true;
  readonly deliveries: Delivery[] = [];
  private readonly queue: Job[] = [];
  private readonly retries = new Set<NodeJS.Timeout>();
  private readonly stopped = new AbortController();
  private running = 0;

  /** Sends to every endpoint that listens to this type. */
  send(event: StripeEvent, endpoints: WebhookEndpoint[]): void {
    if (!this.enabled) return;
    const listening = endpoints.filter(({ enabled_events }) => enabled_events.includes('*') || enabled_events.includes(event.type));
    event.pending_webhooks = listening.length;
    for (const endpoint of listening) this.enqueue({ event, endpoint, attempt: 1 });
  }

  /** Gives up on what is outstanding. */
  stop(): void {
    this.stopped.abort();
    this.queue.length = 0;
    for (const timer of this.retries) clearTimeout(timer);
  }

  private enqueue(job: Job): void {
    this.queue.push(job);
    if (this.queue.length > MAX_QUEUED_DELIVERIES) this.queue.shift();
    this.proceed();
  }

  private proceed(): void {
    while (this.running < MAX_CONCURRENT_DELIVERIES) {
      const job = this.queue.shift();
      if (!job) return;
      this.running++;
      void this.attempt(job).finally(() => {
        this.running--;
        this.proceed();
      });
    }
  }

  private async attempt({ event, endpoint, attempt }: Job): Promise<void> {
    const result = await post(endpoint, event, this.stopped.signal);
    if (this.stopped.signal.aborted) return;
    this.deliveries.push({ event: event.id, type: event.type, url: endpoint.url, attempt, ...result, delivered_at_ms: Date.now() });
    if (this.deliveries.length > MAX_DELIVERY_LOG) this.deliveries.shift();
    if (result.status !== undefined && result.status >= 200 && result.status < 300) {
      // An event that was resent before it had arrived arrives twice.
      event.pending_webhooks = Math.max(0, event.pending_webhooks - 1);
      return;
    }
    const delay = RETRY_DELAYS_MS[attempt - 1];
    if (delay === undefined) return;
    const timer = setTimeout(() => {
      this.retries.delete(timer);
      this.enqueue({ event, endpoint, attempt: attempt + 1 });
    }, delay);
    this.retries.add(timer);
  }
}

/** Indented, as Stripe sends it, so that a receiver which checks a re-serialised body is found out. */
async function post(endpoint: WebhookEndpoint, event: StripeEvent, stopped: AbortSignal): Promise<Pick<Delivery, 'status' | 'error'>> {
  const body = JSON.stringify(event, null, 2);
  try {
    const response = await fetch(endpoint.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json; charset=utf-8', 'stripe-signature': signatureOf(body, endpoint.secret) },
      body,
      redirect: 'manual',
      signal: AbortSignal.any([stopped, AbortSignal.timeout(DELIVERY_TIMEOUT_MS)]),
    });
    await response.body?.cancel();
    return { status: response.status };
  } catch (error) {
    return { error: String((error as Error).cause ?? error) };
  }
}

/** `t=<seconds>,v1=<HMAC-SHA256 of "t.body">`, under a timestamp of its own for each attempt. */
function signatureOf(body: string, secret: string): string {
  const timestamp = now();
  return `t=${timestamp},v1=${createHmac('sha256', secret).update(`${timestamp}.${body}`).digest('hex')}`;
}

/** The id and the secret are random unless given. */
export function addWebhookEndpoint(
  account: Account,
  given: Pick<WebhookEndpoint, 'url' | 'enabled_events'> & Partial<Pick<WebhookEndpoint, 'id' | 'secret'>>,
): WebhookEndpoint {
  return account.webhookEndpoints.add({
    id: newId('we'),
    object: 'webhook_endpoint',
    created: now(),
    livemode: false,
    secret: newId('whsec'),
    status: 'enabled',
    ...given,
  });
}

export function createWebhookEndpoint(account: Account, parameters: Parameters): WebhookEndpoint {
  parameters.allowOnly('url', 'enabled_events');
  const url = parameters.requiredText('url');
  if (!URL.canParse(url)) throw invalidParameter('Not a valid URL', 'url', 'url_invalid');
  return addWebhookEndpoint(account, { url, enabled_events: parameters.texts('enabled_events') ?? ['*'] });
}

/** The secret is shown at creation only. */
export function listWebhookEndpoints(account: Account, parameters: Parameters) {
  const page = account.webhookEndpoints.list('/v1/webhook_endpoints', parameters.page(), () => true);
  return { ...page, data: page.data.map(({ secret: _, ...endpoint }) => endpoint) };
}

export function deleteWebhookEndpoint(account: Account, _: Parameters, id: string) {
  account.webhookEndpoints.get(id);
  account.webhookEndpoints.remove(id);
  return { id, object: 'webhook_endpoint', deleted: true };
}
