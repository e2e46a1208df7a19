/**
 * Stands between Stripe and the service's webhook: the events of one customer are lost, doubled, or come late and in
 * another order.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import axios from 'axios';
import { pause } from './patience.ts';
import type { EventsTreatment } from './schedule.ts';

/** By turns, so that a later event overtakes an earlier one. */
const LATE_MS = [2_500, 300, 1_400];
/** A second delivery of the same event, as after an answer that Stripe has not got. */
const AGAIN_MS = 300;

export class StripePost {
  private readonly server: Server;
  private readonly treatments = new Map<string, EventsTreatment>();
  /** Events of refunds and disputes name the intent alone. */
  private readonly customerOfIntent = new Map<string, string>();
  private late = 0;

  /** @param target where the events go. */
  constructor(target: string) {
    this.server = createServer(async (request, response) => {
      const body = await text(request);
      const signature = String(request.headers['stripe-signature']);
      const deliver = () =>
        axios.post(target, body, {
          headers: { 'content-type': 'application/json; charset=utf-8', 'stripe-signature': signature },
          validateStatus: () => true,
        });
      const status = await this.treat(this.treatmentOf(body), deliver).catch(() => 502);
      response.writeHead(status).end();
    });
    this.server.keepAliveTimeout = 60_000;
  }

  /** Returns the address for Stripe. */
  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** From now on the events of this customer are treated so. */
  arrange(customerId: string, treatment: EventsTreatment): void {
    this.treatments.set(customerId, treatment);
  }

  close(): void {
    this.server.close();
    this.server.closeAllConnections();
  }

  private treatmentOf(body: string): EventsTreatment {
    const { object } = JSON.parse(body).data;
    const intentId = object.object === 'payment_intent' ? object.id : object.payment_intent;
    if (object.customer && intentId) this.customerOfIntent.set(intentId, object.customer);
    return this.treatments.get(object.customer ?? this.customerOfIntent.get(intentId)) ?? 'delivered';
  }

  private async treat(treatment: EventsTreatment, deliver: () => Promise<{ status: number }>): Promise<number> {
    switch (treatment) {
      case 'lost':
        return 200;
      case 'delivered':
        return (await deliver()).status;
      case 'doubled': {
        const [first] = await Promise.all([deliver(), pause(AGAIN_MS).then(deliver)]);
        return first.status;
      }
      case 'late':
        await pause(LATE_MS[this.late++ % LATE_MS.length] ?? 0);
        return (await deliver()).status;
    }
  }
}
