/**
 * Posts one outbound event to one endpoint, signed as Standard Webhooks (https://www.standardwebhooks.com),
 * and says what came of it. The answer is bounded in time and size, and no redirect is followed.
 */
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { Readable } from 'node:stream';
import axios from 'axios';
import { Webhook } from 'standardwebhooks';
import { webhookKey } from '../domain/webhook-key.ts';
import { activeTraceparent } from '../observability/tracing.ts';
import { lookupPublic, namesPrivateAddress } from './addresses.ts';

/** From the connection to the end of the answer. A receiver that takes longer has failed. */
export const POST_DEADLINE_MS = 10_000;
/** Nothing of an answer is used but its status; a receiver may say some words more. */
const MAX_ANSWER_BYTES = 64 * 1024;

export type Message = {
  /** The `webhook-id`: the same at every attempt, so that the receiver can drop copies. */
  id: string;
  type: string;
  createdAt: Date;
  data: Record<string, unknown>;
};
export type Target = { url: string; secret: string; allowPrivate: boolean };

/** `status`: of the answer, null where none came. `error`: null when it was taken. */
export type PostResult = { status: number | null; error: string | null };

/** Never throws for what a receiver or the network does. */
export async function post({ url, secret, allowPrivate }: Target, message: Message, deadlineMs = POST_DEADLINE_MS): Promise<PostResult> {
  if (!allowPrivate && namesPrivateAddress(url)) return { status: null, error: 'the endpoint has a private address' };
  const body = JSON.stringify({ type: message.type, timestamp: message.createdAt.toISOString(), data: message.data });
  const signal = AbortSignal.timeout(deadlineMs);
  try {
    const { status, data: answer } = await axios.post<Readable>(url, body, {
      headers: headersOf(message.id, secret, body),
      signal,
      maxRedirects: 0,
      responseType: 'stream',
      decompress: false,
      validateStatus: null,
      ...(!allowPrivate && PUBLIC_ONLY),
    });
    await readSome(answer);
    return { status, error: status >= 200 && status < 300 ? null : `answered ${status}` };
  } catch (error) {
    if (signal.aborted) return { status: null, error: `no complete answer within ${deadlineMs / 1000} s` };
    // Only its message, which names the connection's fault: the error itself holds the signature.
    return { status: null, error: (error as Error).message };
  }
}

/** A proxy would make the connection, and look the name up, in our place. */
const PUBLIC_ONLY = {
  proxy: false,
  httpAgent: new HttpAgent({ lookup: lookupPublic }),
  httpsAgent: new HttpsAgent({ lookup: lookupPublic }),
} as const;

function headersOf(id: string, secret: string, body: string): Record<string, string> {
  const now = new Date();
  const traceparent = activeTraceparent();
  return {
    'content-type': 'application/json',
    // A receiver that traces goes on in the trace of the alert.
    ...(traceparent && { traceparent }),
    'webhook-id': id,
    'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
    'webhook-signature': new Webhook(webhookKey(secret), { format: 'raw' }).sign(id, now, body),
  };
}

/** Reads an answer to its end, or as much of it as is taken: its status has been said by then. */
async function readSome(answer: Readable): Promise<void> {
  let bytes = 0;
  for await (const chunk of answer) {
    bytes += (chunk as Buffer).length;
    if (bytes > MAX_ANSWER_BYTES) return;
  }
}
