/** Reads the raw body of an alert into the event that is stored. */
import { hash } from 'node:crypto';
import type { IncomingEvent } from '../database/webhook-events.ts';
import { crossingOf, lacksTeam } from '../domain/crossing.ts';

/** LiteLLM's alerts are flat. */
const MAX_DEPTH = 32;
/** PostgreSQL indexes it, and limits an index entry; senders' ids have a tenth of this. */
const MAX_DELIVERY_ID_LENGTH = 256;

/** The body cannot be read as an alert; the message says what to change. */
export class MalformedAlertError extends Error {
  override name = 'MalformedAlertError';
}

/**
 * Reads an alert: any JSON object with an `event`, its unknown fields kept. One about a team's budget names the
 * team.
 *
 * @throws MalformedAlertError
 */
export function readAlert(body: Buffer, deliveryId: string | null): IncomingEvent {
  if (deliveryId !== null && deliveryId.length > MAX_DELIVERY_ID_LENGTH) {
    throw new MalformedAlertError(`the webhook-id is longer than ${MAX_DELIVERY_ID_LENGTH} characters`);
  }
  const payload = parseObject(body);
  if (typeof payload['event'] !== 'string' || payload['event'] === '') throw new MalformedAlertError('the alert has no "event", a string');
  if (lacksTeam(payload)) throw new MalformedAlertError('the alert is about the budget of a team and has no "team_id", a string');
  const crossing = crossingOf(payload);
  return {
    source: 'webhook',
    eventType: payload['event'],
    teamId: typeof payload['team_id'] === 'string' ? payload['team_id'] : null,
    payload,
    bodySha256: hash('sha256', body, 'hex'),
    deliveryId,
    crossing: crossing?.key ?? null,
  };
}

const UTF_8 = new TextDecoder('utf-8', { fatal: true });

function parseObject(body: Buffer): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(UTF_8.decode(body));
  } catch {
    throw new MalformedAlertError('the body is not JSON in UTF-8');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new MalformedAlertError('the body is not a JSON object');
  refuseUnstorable(value, 0);
  return value as Record<string, unknown>;
}

/** PostgreSQL's jsonb holds neither NUL nor half a surrogate pair. */
function refuseUnstorable(value: unknown, depth: number): void {
  if (depth > MAX_DEPTH) throw new MalformedAlertError(`the body is nested deeper than ${MAX_DEPTH} levels`);
  if (typeof value === 'string') {
    if (value.includes('\0') || !value.isWellFormed())
      throw new MalformedAlertError('the body holds a string that is not Unicode text (NUL or a lone surrogate)');
  } else if (typeof value === 'object' && value !== null) {
    for (const key in value) {
      refuseUnstorable(key, depth);
      refuseUnstorable((value as Record<string, unknown>)[key], depth + 1);
    }
  }
}
