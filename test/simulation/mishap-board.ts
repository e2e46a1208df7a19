/** Tells the worker, before each activity, what goes wrong in it. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import type { MishapPoint } from './schedule.ts';

/** What the driver says; a lost connection unless told otherwise. */
export type DriverError = 'connection lost' | 'serialization failure' | 'pool exhausted';
export type Mishap = { point: MishapPoint; ending: 'throws' | 'dies'; error?: DriverError };
export type MishapQuestion = { activity: string; eventId: string };

export class MishapBoard {
  private readonly server: Server;

  /** @param decide what happens in this activity of this event; null for nothing. */
  constructor(decide: (question: MishapQuestion) => Promise<Mishap | null>) {
    this.server = createServer(async (request, response) => {
      const mishap = await decide(JSON.parse(await text(request))).catch(() => null);
      response.setHeader('content-type', 'application/json').end(JSON.stringify(mishap));
    });
    this.server.keepAliveTimeout = 60_000;
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.server.close();
    this.server.closeAllConnections();
  }
}
