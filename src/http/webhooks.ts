/** `/webhooks`: takes in LiteLLM's alerts and Stripe's events, and lists what became of the alerts. */
import express, { type RequestHandler, type Router } from 'express';
import { z } from 'zod';
import type { WebhookEvent } from '../database/entities.ts';
import { isDatabaseOutage } from '../database/errors.ts';
import * as names from '../database/names.ts';
import * as stripeEvents from '../database/stripe-events.ts';
import * as webhookEvents from '../database/webhook-events.ts';
import { EVENT_OUTCOMES } from '../domain/event-outcome.ts';
import type { OpaqueStripeEvent, StripeNotice } from '../domain/stripe-notice.ts';
import { MalformedAlertError, readAlert } from '../inbox/alert.ts';
import { OverloadedError } from '../inbox/group-commit.ts';
import { authenticate } from '../inbox/signatures.ts';
import type { Logger } from '../observability/log.ts';
import { MalformedStripeEventError, readStripeEvent } from '../payments/events.ts';
import type { HttpDependencies } from './dependencies.ts';
import { type EventStoryDependencies, eventByAnyId, eventStory } from './event-story.ts';
import { pageQuery, presentPage } from './paging.ts';
import { Problem, parse } from './problem.ts';
import { rawBody } from './raw-body.ts';
import { noteOutcome } from './request-log.ts';
import { spanOfRequest } from './request-trace.ts';

/** LiteLLM's alerts are under a kilobyte. */
const MAX_ALERT_BYTES = 64 * 1024;

/** A PaymentIntent with everything that can be in it. */
const MAX_STRIPE_EVENT_BYTES = 512 * 1024;

const rawAlert = rawBody(MAX_ALERT_BYTES);
const rawStripeBody = rawBody(MAX_STRIPE_EVENT_BYTES);

const requireJson: RequestHandler = (request, _response, next) => {
  // What LiteLLM and its callback send: nothing to take apart.
  if (request.headers['content-type'] === 'application/json') return next();
  const [type = '', ...parameters] = (request.headers['content-type'] ?? '').split(';').map((part) => part.trim().toLowerCase());
  if (type !== 'application/json') throw new Problem('unsupported-media-type', 'send it with Content-Type: application/json');
  const charset = parameters.find((parameter) => parameter.startsWith('charset='));
  if (charset && !/^charset="?utf-?8"?$/.test(charset)) throw new Problem('unsupported-media-type', 'the body has to be UTF-8');
  next();
};

/**
 * Whatever keeps an event from being stored, its sender has to send it again, as it does after 503.
 *
 * @throws Problem 503, or the outage that becomes one.
 */
async function storedOrUnavailable<Stored>(log: Logger, store: () => Promise<Stored>): Promise<Stored> {
  try {
    return await store();
  } catch (error) {
    if (isDatabaseOutage(error)) throw error;
    if (error instanceof OverloadedError) throw new Problem('unavailable', `${error.message}; send it again`);
    log.error({ error: (error as Error)?.stack }, 'an event could not be stored');
    throw new Problem('unavailable', 'the event could not be stored; send it again');
  }
}

type AlertDependencies = Pick<HttpDependencies, 'storeAlert' | 'alertSecrets' | 'alertAccepted' | 'log'>;

/** LiteLLM's alerts: authenticated, stored, answered. */
export function litellmWebhook({ storeAlert, alertSecrets, alertAccepted, log }: AlertDependencies): RequestHandler[] {
  const receive: RequestHandler = async (request, response) => {
    const body: Buffer = request.body;
    const tokens = [request.query['token'] ?? []].flat() as string[];
    const proof = authenticate({ headers: request.headersDistinct, tokens, body }, alertSecrets, Date.now() / 1000);
    if (!proof.authentic) {
      throw new Problem('unauthenticated', 'no valid signature (webhook-signature or X-LiteLLM-Signature) and no valid ?token=');
    }
    const alert = readAlertOrRefuse(body, proof.deliveryId);
    const span = spanOfRequest(response);
    const traceparent = span?.traceparent;
    const receipt = await storedOrUnavailable(log, () => storeAlert({ ...alert, traceparent }, body.length));
    span?.note({ 'bill.event_id': receipt.eventId, 'bill.outcome': receipt.status });
    if (receipt.status === 'conflict') throw new Problem('conflict', `webhook-id ${proof.deliveryId} was sent before with another body`);
    if (receipt.status === 'accepted') alertAccepted();
    noteOutcome(response, receipt.status);
    // Not `json`: it makes an ETag, a digest of the answer, and nobody asks twice.
    response.setHeader('Content-Type', 'application/json; charset=utf-8');
    response.end(JSON.stringify({ event_id: receipt.eventId, status: receipt.status }));
  };
  return [requireJson, rawAlert, receive];
}

type StripeEventDependencies = Pick<HttpDependencies, 'database' | 'stripeSigningSecrets' | 'stripeEventAccepted' | 'log'>;

/**
 * Stripe's events: verified, stored, answered. They only wake what waits, so losing all of them makes the
 * service slower, not wrong.
 */
export function stripeWebhook({ database, stripeSigningSecrets, stripeEventAccepted, log }: StripeEventDependencies): RequestHandler[] {
  const receive: RequestHandler = async (request, response) => {
    const signature = request.headersDistinct['stripe-signature'];
    const body: Buffer = request.body;
    const event = signature?.length === 1 ? readStripeEventOrRefuse(body, signature[0] ?? '', stripeSigningSecrets) : undefined;
    if (!event) throw new Problem('unauthenticated', 'no valid Stripe-Signature by one of STRIPE_WEBHOOK_SECRETS');
    if ('isOpaque' in event) {
      await storedOrUnavailable(log, () => stripeEvents.ignore(database.fork(), event));
      noteOutcome(response, 'ignored');
      response.json({ event_id: event.id, status: 'ignored' });
      return;
    }
    const isNew = await storedOrUnavailable(log, () => stripeEvents.receive(database.fork(), event));
    if (isNew) stripeEventAccepted();
    noteOutcome(response, isNew ? 'accepted' : 'duplicate');
    response.json({ event_id: event.id, status: isNew ? 'accepted' : 'duplicate' });
  };
  return [requireJson, rawStripeBody, receive];
}

function readAlertOrRefuse(body: Buffer, deliveryId: string | null) {
  try {
    return readAlert(body, deliveryId);
  } catch (error) {
    if (error instanceof MalformedAlertError) throw new Problem('malformed', error.message);
    throw error;
  }
}

function readStripeEventOrRefuse(
  body: Buffer,
  signature: string,
  secrets: readonly string[],
): StripeNotice | OpaqueStripeEvent | undefined {
  try {
    return readStripeEvent(body, signature, secrets, Date.now() / 1000);
  } catch (error) {
    if (error instanceof MalformedStripeEventError) throw new Problem('malformed', error.message);
    throw error;
  }
}

const flag = z.enum(['true', 'false']).transform((text) => text === 'true');
const eventsQuery = z.strictObject({
  ...pageQuery,
  team_id: z.string().min(1).optional(),
  organization_id: z.string().min(1).optional(),
  event_type: z.string().min(1).optional(),
  processed: flag.optional(),
  success: flag.optional(),
  outcome: z.enum(EVENT_OUTCOMES).optional(),
});

export function eventRoutes(dependencies: EventStoryDependencies): Router {
  const { database } = dependencies;
  const router = express.Router();

  router.get('/', async (request, response) => {
    const { limit, cursor, ...query } = parse(eventsQuery, request.query);
    const em = database.fork();
    if (query.organization_id) await names.requireOrganizationOfRows(em, query.organization_id);
    if (query.team_id) await names.requireTeamOfEvents(em, query.team_id);
    if (query.event_type) await names.requireEventType(em, query.event_type);
    const wanted = {
      teamId: query.team_id,
      organizationId: query.organization_id,
      eventType: query.event_type,
      processed: query.processed,
      success: query.success,
      outcome: query.outcome,
    };
    const filter = Object.fromEntries(Object.entries(wanted).filter(([, value]) => value !== undefined)) as webhookEvents.EventFilter;
    response.json(presentPage(await webhookEvents.list(em, filter, { limit, cursor }), present));
  });

  router.get('/:id', async (request, response) => {
    const event = await eventByAnyId(dependencies, request.params.id);
    response.json({ ...present(event), ...(await eventStory(dependencies, event)) });
  });

  return router;
}

function present(event: WebhookEvent) {
  return {
    id: event.id,
    source: event.source,
    event_type: event.eventType,
    team_id: event.teamId ?? null,
    organization_id: event.organizationId ?? null,
    delivery_id: event.deliveryId ?? null,
    duplicate_of: event.duplicateOf ?? null,
    copies: event.copies,
    last_copy_at: event.lastCopyAt?.toISOString() ?? null,
    processed: event.processed,
    success: event.success ?? null,
    outcome: event.outcome ?? null,
    received_at: event.receivedAt.toISOString(),
    dispatched_at: event.dispatchedAt?.toISOString() ?? null,
    processed_at: event.processedAt?.toISOString() ?? null,
    payload: event.payload,
  };
}
