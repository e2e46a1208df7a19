import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { expect } from '@jest/globals';
import { until } from './until.ts';

export type Delivery = { method: string; path: string; headers: IncomingHttpHeaders; body: string };

/** Where webhooks go. */
export class WebhookReceiver {
  readonly deliveries: Delivery[] = [];
  /** Of the next answers, the last one for ever. */
  statuses = [200];
  /** No answer comes. */
  hangs = false;
  private readonly server: Server;

  private constructor() {
    this.server = createServer(async (request, response) => {
      const body = await text(request);
      this.deliveries.push({ method: request.method ?? '', path: request.url ?? '', headers: request.headers, body });
      if (this.hangs) return;
      const status = this.statuses.length > 1 ? this.statuses.shift() : this.statuses[0];
      response.writeHead(status ?? 200, status === 307 ? { location: '/moved' } : {}).end();
    });
  }

  static async start(): Promise<WebhookReceiver> {
    const receiver = new WebhookReceiver();
    await new Promise<void>((resolve) => receiver.server.listen(0, '127.0.0.1', resolve));
    return receiver;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Waits for so many deliveries, and there may be no more. */
  async received(count: number): Promise<Delivery[]> {
    await until(() => this.deliveries.length >= count, `${count} deliveries`);
    expect(this.deliveries).toHaveLength(count);
    return this.deliveries;
  }

  stop(): Promise<void> {
    return new Promise((resolve) => {
      this.server.close(() => resolve());
      this.server.closeAllConnections();
    });
  }
}
