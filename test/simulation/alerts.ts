/** LiteLLM's alerts of one team, as the service gets them. */
import { createHmac, randomBytes } from 'node:crypto';
import type { AxiosResponse } from 'axios';
import { alertBody, HMAC_SECRET, standardWebhookHeaders, URL_TOKEN } from '../support/world.ts';
import type { Deeds } from './deeds.ts';
import type { Environment } from './environment.ts';
import { persist } from './patience.ts';
import type { StepOf } from './schedule.ts';

type Delivery = { webhookId: string; text: string };
/** `copy`: which of those that are sent at the same moment. */
type Posted = { text: string; webhookId: string | null; copy: number; byToken?: boolean };
type Figures = { max_budget: number | null; spend: number };

export class Alerts {
  /** The last that was accepted as a new event. */
  lastEventId: string | undefined;
  private readonly environment: Environment;
  private readonly deeds: Deeds;
  private readonly teamId: string;
  private lastDelivery: Delivery | undefined;

  constructor(environment: Environment, deeds: Deeds, teamId: string) {
    this.environment = environment;
    this.deeds = deeds;
    this.teamId = teamId;
  }

  /** @param told the figures that they report. */
  async send({ event, proof, copies, tells }: StepOf<'alert'>, told: Figures): Promise<void> {
    const ahead = tells === 'spend to come' ? 1_000 : 0;
    await Promise.all(
      Array.from({ length: copies }, async (_, copy) => {
        const body = { ...alertBody(this.teamId), event, max_budget: told.max_budget, spend: told.spend + ahead + copy / 1_000 };
        const text = JSON.stringify(body);
        if (proof === 'Standard Webhooks') {
          const webhookId = `msg_${randomBytes(8).toString('hex')}`;
          this.lastDelivery = { webhookId, text };
          await this.deliver({ text, webhookId, copy });
        } else {
          await this.deliver({ text, webhookId: null, copy, byToken: proof === 'token' });
        }
      }),
    );
  }

  /** The last signed delivery again. False when there was none. */
  async replay(times: number): Promise<boolean> {
    const delivery = this.lastDelivery;
    if (!delivery) return false;
    await Promise.all(Array.from({ length: times }, (_, copy) => this.deliver({ ...delivery, copy })));
    return true;
  }

  /** Another body under the id of the last signed delivery. */
  async conflict(): Promise<void> {
    if (!this.lastDelivery) return;
    const { webhookId, text } = this.lastDelivery;
    await this.deliver({ text: JSON.stringify({ ...JSON.parse(text), spend: 99.5 }), webhookId, copy: 0 });
  }

  /** Sends until it is taken, as LiteLLM does with every further request that it refuses. */
  private async deliver({ text, webhookId, copy, byToken = false }: Posted): Promise<void> {
    const proof = webhookId
      ? standardWebhookHeaders(text, webhookId)
      : { 'X-LiteLLM-Signature': `sha256=${createHmac('sha256', HMAC_SECRET).update(text).digest('hex')}` };
    const query = byToken ? `?token=${URL_TOKEN}` : '';
    const answer: AxiosResponse = await persist('an alert is taken', async () => {
      const answered = await this.environment.apiOf(copy).post(`/webhooks/litellm/limit-exceeded${query}`, text, {
        headers: { 'content-type': 'application/json', ...(byToken ? {} : proof) },
      });
      if (answered.status >= 500) throw new Error(`${answered.status} ${JSON.stringify(answered.data)}`);
      return answered;
    });
    const { event_id: eventId, status: receipt } = answer.data ?? {};
    this.deeds.answers.push({ webhookId, status: answer.status, eventId, receipt });
    if (receipt === 'accepted') this.lastEventId = eventId;
  }
}
