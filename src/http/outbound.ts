/** `/api/v1/outbound-endpoints` and `/api/v1/outbound-events`: what is told to whom, and again. */
import { randomBytes } from 'node:crypto';
import express, { type Router } from 'express';
import { z } from 'zod';
import type { OutboundDelivery, OutboundEndpoint, OutboundEvent } from '../database/entities.ts';
import * as names from '../database/names.ts';
import * as deliveries from '../database/outbound-deliveries.ts';
import * as endpoints from '../database/outbound-endpoints.ts';
import * as outboundEvents from '../database/outbound-events.ts';
import { OUTBOUND_TYPES } from '../domain/outbound-event.ts';
import { namesPrivateAddress } from '../outbox/addresses.ts';
import type { HttpDependencies } from './dependencies.ts';
import { NO_NUL } from './fields.ts';
import { pageQuery, presentPage } from './paging.ts';
import { invalidField, Problem, parse } from './problem.ts';

/** Standard Webhooks asks for 24 to 64 bytes. */
const SECRET_BYTES = 32;

const createBody = z.strictObject({
  url: z
    .url({ protocol: /^https?$/, error: 'is not an http:// or https:// address' })
    .max(2_000)
    .regex(...NO_NUL),
  types: z.array(z.enum(OUTBOUND_TYPES)).min(1).nullable().default(null),
});

export function outboundEndpointRoutes({
  database,
  allowPrivateEndpoints,
}: Pick<HttpDependencies, 'database' | 'allowPrivateEndpoints'>): Router {
  const router = express.Router();

  router.get('/', async (request, response) => {
    const { limit, cursor } = parse(z.strictObject(pageQuery), request.query);
    response.json(presentPage(await endpoints.list(database.fork(), { limit, cursor }), presentEndpoint));
  });

  router.post('/', async (request, response) => {
    const { url, types } = parse(createBody, request.body);
    const { username, password } = new URL(url);
    if (username || password) throw invalidField('url', 'holds a user or a password: events are signed');
    if (!allowPrivateEndpoints && namesPrivateAddress(url)) {
      throw invalidField('url', 'has a private address, which OUTBOUND_ALLOW_PRIVATE=true would permit');
    }
    const secret = `whsec_${randomBytes(SECRET_BYTES).toString('base64')}`;
    const endpoint = await endpoints.create(database.fork(), { url, secret, types }).catch((error) => {
      throw error instanceof endpoints.TooManyEndpointsError ? new Problem('conflict', error.message) : error;
    });
    response
      .status(201)
      .location(`/api/v1/outbound-endpoints/${endpoint.id}`)
      .json({ ...presentEndpoint(endpoint), secret });
  });

  router.delete('/:id', async (request, response) => {
    const { id } = request.params;
    if (id === endpoints.CONFIGURED_ENDPOINT) throw new Problem('conflict', 'this endpoint is set by NOTIFY_WEBHOOK_URL: remove it there');
    if (!(await endpoints.remove(database.fork(), id))) throw missingEndpoint(id);
    response.status(204).end();
  });

  router.post('/:id/enable', async (request, response) => {
    const endpoint = await endpoints.enable(database.fork(), request.params.id).catch((error) => {
      throw error instanceof endpoints.NotConfiguredError ? new Problem('conflict', error.message) : error;
    });
    if (!endpoint) throw missingEndpoint(request.params.id);
    response.json(presentEndpoint(endpoint));
  });

  return router;
}

const listQuery = z.strictObject({
  ...pageQuery,
  type: z.enum(OUTBOUND_TYPES).optional(),
  organization_id: z.string().min(1).optional(),
  failed: z.enum(['true', 'false']).optional(),
});

export function outboundEventRoutes({ database, outboundEventResent }: Pick<HttpDependencies, 'database' | 'outboundEventResent'>): Router {
  const router = express.Router();

  router.get('/', async (request, response) => {
    const { limit, cursor, type, organization_id: organizationId, failed } = parse(listQuery, request.query);
    if (organizationId) await names.requireOrganizationOfRows(database.fork(), organizationId);
    const filter = { ...(type && { type }), ...(organizationId && { organizationId }), isFailed: failed === 'true' };
    const page = await outboundEvents.list(database.fork(), filter, { limit, cursor });
    const byEvent = await deliveries.ofEvents(
      database.fork(),
      page.data.map(({ id }) => id),
    );
    response.json(presentPage(page, (event) => presentEvent(event, byEvent.get(event.id))));
  });

  router.get('/:id', async (request, response) => {
    response.json(await presentWhole(request.params.id));
  });

  router.post('/:id/resend', async (request, response) => {
    const { id } = request.params;
    const em = database.fork();
    if (!(await outboundEvents.find(em, id))) throw missingEvent(id);
    if ((await deliveries.resend(em, id)) === 0) throw new Problem('conflict', 'no endpoint is enabled that takes events of this type');
    outboundEventResent();
    response.json(await presentWhole(id));
  });

  /** With every attempt. @throws Problem */
  async function presentWhole(id: string) {
    const em = database.fork();
    const event = await outboundEvents.find(em, id);
    if (!event) throw missingEvent(id);
    const ofEvent = (await deliveries.ofEvents(em, [id])).get(id) ?? [];
    return {
      ...presentEvent(event, ofEvent),
      deliveries: ofEvent.map((delivery) => ({ ...presentDelivery(delivery), log: delivery.log })),
    };
  }

  return router;
}

function missingEndpoint(id: string): Problem {
  return new Problem('not-found', `there is no outbound endpoint ${id}`);
}

function missingEvent(id: string): Problem {
  return new Problem('not-found', `there is no outbound event ${id}`);
}

/** Never with its secret. */
function presentEndpoint({ id, url, types, failingSince, disabledAt, disabledReason, createdAt }: OutboundEndpoint) {
  return {
    id,
    url,
    types: types ?? null,
    enabled: !disabledAt,
    failing_since: failingSince?.toISOString() ?? null,
    disabled_at: disabledAt?.toISOString() ?? null,
    disabled_reason: disabledReason ?? null,
    created_at: createdAt.toISOString(),
  };
}

function presentEvent({ id, type, organizationId, data, createdAt }: OutboundEvent, ofEvent: OutboundDelivery[] = []) {
  return {
    id,
    type,
    organization_id: organizationId ?? null,
    data,
    created_at: createdAt.toISOString(),
    deliveries: ofEvent.map(presentDelivery),
  };
}

function presentDelivery({ endpointId, attempts, deliveredAt, givenUpAt, dueAt, lastStatus, lastError }: OutboundDelivery) {
  const isPending = !deliveredAt && !givenUpAt;
  return {
    endpoint_id: endpointId,
    status: deliveredAt ? 'delivered' : givenUpAt ? 'given_up' : 'pending',
    attempts,
    delivered_at: deliveredAt?.toISOString() ?? null,
    next_attempt_at: isPending ? dueAt.toISOString() : null,
    last_status: lastStatus ?? null,
    last_error: lastError ?? null,
  };
}
