/**
 * The idempotency layer: https://docs.stripe.com/api/idempotent_requests
 *
 * The answer to the first POST with a key is saved, 500s included, and given again to later ones. Not saved
 * are answers from before an endpoint began to execute: failed parameter validation, a missing or revoked
 * key, a rate limit.
 */
import { createHash } from 'node:crypto';
import { StripeError } from './errors.ts';

/** Stripe may prune a key once it is this old; a reuse is then a new request. */
const RETENTION_MS = 24 * 60 * 60 * 1000;

/**
 * The newest this many, about 100 MB of answers. A retry that comes this many requests later is a new
 * request.
 */
const MAX_KEYS = 50_000;

const MAX_KEY_LENGTH = 255;

/** An answer as it went out. */
export type SavedAnswer = { status: number; text: string; headers?: Record<string, string> };

/** What running an endpoint gave. */
export type Execution = SavedAnswer & { executed: boolean };

export type SavedKey = {
  key: string;
  /** Of method, path and parameters, which a reuse has to repeat. */
  fingerprint: string;
  first_request: string;
  created_ms: number;
  /** Absent while the first request runs. */
  answer?: SavedAnswer;
};

export class IdempotencyLayer {
  private readonly keys = new Map<string, SavedKey>();

  /**
   * Runs the endpoint once for each key.
   *
   * @param parameters the body as it came; the order of its parameters does not matter.
   * @throws {StripeError} 400 idempotency_error for a key used otherwise before, 409 idempotency_key_in_use
   *   while the first request runs.
   */
  async once(
    call: { key: string; method: string; path: string; parameters: string; requestId: string },
    execute: () => Promise<Execution>,
  ): Promise<SavedAnswer & { replayOf?: string }> {
    if (call.key.length > MAX_KEY_LENGTH) {
      throw new StripeError(400, { type: 'idempotency_error', message: `Idempotency keys can be at most ${MAX_KEY_LENGTH} characters` });
    }
    this.dropAged();
    const fingerprint = fingerprintOf(call);
    const saved = this.keys.get(call.key);
    if (saved && saved.fingerprint !== fingerprint) {
      throw new StripeError(400, {
        type: 'idempotency_error',
        message: `Keys for idempotent requests can only be used for the same endpoint and parameters they were first used with. Try using a key other than '${call.key}' if you meant to execute a different request.`,
      });
    }
    if (saved?.answer) return { ...saved.answer, replayOf: saved.first_request };
    if (saved) {
      throw new StripeError(409, {
        type: 'idempotency_error',
        code: 'idempotency_key_in_use',
        message: `There is currently another in-progress request using this Idempotent Key (that probably means you submitted twice, and the other request is still going through): ${call.key}. Please try again later.`,
      });
    }
    const entry: SavedKey = { key: call.key, fingerprint, first_request: call.requestId, created_ms: Date.now() };
    this.keys.set(call.key, entry);
    try {
      const { executed, ...answer } = await execute();
      if (executed) entry.answer = answer;
      return answer;
    } finally {
      if (!entry.answer) this.keys.delete(call.key);
    }
  }

  /** Forgets every saved answer, as Stripe may after a day. Requests in progress keep theirs. */
  prune(): { pruned: number } {
    const finished = this.all().filter(({ answer }) => answer);
    for (const { key } of finished) this.keys.delete(key);
    return { pruned: finished.length };
  }

  all(): SavedKey[] {
    return [...this.keys.values()];
  }

  load(keys: SavedKey[]): void {
    for (const saved of keys) if (saved.answer) this.keys.set(saved.key, saved);
  }

  /** Keys are in order of age, so this ends at the first one that stays. */
  private dropAged(): void {
    for (const [key, saved] of this.keys) {
      if (ageOf(saved) < RETENTION_MS && this.keys.size < MAX_KEYS) return;
      this.keys.delete(key);
    }
  }
}

function ageOf(saved: SavedKey): number {
  return Date.now() - saved.created_ms;
}

function fingerprintOf(call: { method: string; path: string; parameters: string }): string {
  const pairs = [...new URLSearchParams(call.parameters)].map((pair) => JSON.stringify(pair)).sort();
  return createHash('sha256')
    .update(JSON.stringify([call.method, call.path, pairs]))
    .digest('hex');
}
