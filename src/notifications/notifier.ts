/** Outbound events: Standard Webhooks, posted to one URL that the operator has set. */
import axios from 'axios';
import { Webhook } from 'standardwebhooks';
import { webhookKey } from '../domain/webhook-key.ts';

export type OutboundEvent = {
  /** The `webhook-id`: the same for every attempt, so that the receiver can drop duplicates. */
  id: string;
  /** Such as `recharge.succeeded`. */
  type: string;
  data: Record<string, string>;
};

/** A receiver that takes longer has failed; the event is sent again later. */
const DEADLINE_MS = 10_000;

export class NotificationError extends Error {
  override name = 'NotificationError';
}

export class Notifier {
  private readonly target: { url: string; signer: Webhook } | undefined;

  /** @param target without one nothing is sent. */
  constructor(target?: { url: string; secret: string }) {
    this.target = target && {
      url: target.url,
      signer: new Webhook(webhookKey(target.secret), { format: 'raw' }),
    };
  }

  /** @throws NotificationError unless the receiver answers 2xx. */
  async send(event: OutboundEvent): Promise<void> {
    if (!this.target) return;
    const now = new Date();
    const body = JSON.stringify({ type: event.type, timestamp: now.toISOString(), data: event.data });
    const headers = {
      'content-type': 'application/json',
      'webhook-id': event.id,
      'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
      'webhook-signature': this.target.signer.sign(event.id, now, body),
    };
    try {
      await axios.post(this.target.url, body, { headers, timeout: DEADLINE_MS, maxRedirects: 0 });
    } catch (error) {
      // Only its message, which names the status or the connection's fault: the error itself holds the
      // signature.
      throw new NotificationError(`the notification was not taken: ${(error as Error).message}`);
    }
  }
}
