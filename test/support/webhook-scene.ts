/**
 * Whoever posts to LiteLLM's webhook: bytes and headers as they are, signed or not, and what is answered,
 * stored and charged.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { type IncomingMessage, request as openRequest } from 'node:http';
import { connect } from 'node:net';
import { expect } from '@jest/globals';
import type { DestinationStream } from 'pino';
import { alertBody, HMAC_SECRET, standardWebhookHeaders, URL_TOKEN } from './alerts.ts';
import { expectUncharged } from './expectations.ts';
import { type Organization, World } from './world.ts';

export const PATH = '/webhooks/litellm/limit-exceeded';
export const WITH_TOKEN = `${PATH}?token=${URL_TOKEN}`;
export const JSON_TYPE = { 'content-type': 'application/json' };
/** A message that is older or newer than this is not authentic. */
export const TOLERANCE_S = 300;

export type Headers = Record<string, string | string[]>;
export type Answer = { status: number; headers: IncomingMessage['headers']; body: Record<string, unknown> };
export type Heard = { text: string; closedAfterMs: number };

type EventRow = {
  id: string;
  team_id: string | null;
  payload: Record<string, unknown>;
  processed: boolean;
  outcome: string | null;
  copies: number;
  last_copy_at: Date | null;
  highest_spend: string | null;
};

export const messageId = () => `msg_${randomBytes(8).toString('hex')}`;
export const seconds = () => Math.floor(Date.now() / 1000);
export const bodyFor = (teamId: string, changes: Record<string, unknown> = {}) => JSON.stringify({ ...alertBody(teamId), ...changes });
export const hexSignature = (signed: string) => createHmac('sha256', HMAC_SECRET).update(signed).digest('hex');

export function standardHeaders(body: string, wish: { id?: string; secret?: string; at?: number } = {}): Headers {
  return { ...JSON_TYPE, ...standardWebhookHeaders(body, wish.id ?? messageId(), wish) };
}

export function litellmHeaders(body: string, timestamp?: string): Headers {
  if (timestamp === undefined) return { ...JSON_TYPE, 'x-litellm-signature': `sha256=${hexSignature(body)}` };
  return { ...JSON_TYPE, 'x-litellm-timestamp': timestamp, 'x-litellm-signature': `sha256=${hexSignature(`${timestamp}.${body}`)}` };
}

/** The answer that says so. */
export function problem(status: number, kind: string): object {
  return { status, body: { type: `urn:bill-service:problem:${kind}`, title: expect.any(String), status, detail: expect.any(String) } };
}

export class WebhookScene {
  readonly world: World;
  /** Out of budget all the time, so that anything that gets through for it is charged. */
  readonly victim: Organization;

  private constructor(world: World, victim: Organization) {
    this.world = world;
    this.victim = victim;
  }

  static async start(overrides: Record<string, string> = {}, logDestination?: DestinationStream): Promise<WebhookScene> {
    const world = await World.start(overrides, logDestination);
    return new WebhookScene(world, await world.organization());
  }

  /** Posts bytes as they are, with headers as they are: repeated, empty or missing ones too. */
  post(body: string | Buffer, headers: Headers, { path = PATH, url = this.world.apiUrl } = {}): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const request = openRequest(`${url}${path}`, { method: 'POST', headers, agent: false }, async (response) => {
        const chunks: Buffer[] = await response.toArray();
        const text = Buffer.concat(chunks).toString();
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text ? JSON.parse(text) : {} });
      });
      request.once('error', reject);
      request.end(body);
    });
  }

  /**
   * Says `opening` on a socket of its own, then `refrain` again and again, until the service closes the
   * connection.
   */
  talk(opening: string, refrain?: string): Promise<Heard> {
    return new Promise((resolve) => {
      const socket = connect(Number(new URL(this.world.apiUrl).port), '127.0.0.1');
      const started = performance.now();
      let text = '';
      const sing = () => {
        if (socket.destroyed || refrain === undefined) return;
        if (socket.write(refrain)) setImmediate(sing);
        else socket.once('drain', sing);
      };
      socket.on('data', (data) => {
        text += data;
      });
      // A reset is one way to be cut off.
      socket.on('error', () => {});
      socket.on('close', () => resolve({ text, closedAfterMs: performance.now() - started }));
      socket.write(opening);
      sing();
    });
  }

  /** The team's events in the inbox. */
  async eventsOf(teamId: string): Promise<EventRow[]> {
    return (await this.world.sql.query('select * from webhook_event where team_id = $1 order by id', [teamId])).rows;
  }

  /** Neither Stripe nor the database has anything of this organization. */
  async expectUntouched(organization: Organization): Promise<void> {
    await expectUncharged(this.world, organization);
    expect((await this.world.stripe.paymentIntents.list({ customer: organization.customerId })).data).toEqual([]);
    expect(await this.world.rechargesOf(organization)).toEqual([]);
  }

  /** What must not be believed or cannot be read is answered as said, not stored, not charged. */
  async expectRefused(sent: Answer | Promise<Answer>, status: number, kind: string): Promise<void> {
    expect(await sent).toMatchObject(problem(status, kind));
    expect(await this.eventsOf(this.victim.teamId)).toEqual([]);
    await this.expectUntouched(this.victim);
  }
}
