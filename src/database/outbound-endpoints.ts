/** Where outbound events go: endpoints made by API, and the one that the environment names. */
import { type RequiredEntityData, raw } from '@mikro-orm/core';
import { DELIVERY_DAYS, type OutboundType } from '../domain/outbound-event.ts';
import type { EntityManager } from './database.ts';
import { OutboundEndpoint } from './entities.ts';
import { newId } from './ids.ts';
import { type Page, type PageRequest, pageByCreation } from './page.ts';

/**
 * The endpoint of NOTIFY_WEBHOOK_URL: one row, so that its deliveries, its failures and its switch are those
 * of any endpoint. Each dispatcher registers it when it starts. Its secret stays in the environment.
 */
export const CONFIGURED_ENDPOINT = 'configured';
export const NOT_CONFIGURED = 'NOTIFY_WEBHOOK_URL is not set';

/** Made by API, at most: each may have some deliveries under way, and all of them share one dispatcher. */
export const MAX_ENDPOINTS = 10;

/** There are as many endpoints as there may be. */
export class TooManyEndpointsError extends Error {
  override name = 'TooManyEndpointsError';
}

/** The environment names no endpoint. */
export class NotConfiguredError extends Error {
  override name = 'NotConfiguredError';
}

/** @throws TooManyEndpointsError */
export async function create(
  em: EntityManager,
  { url, secret, types }: { url: string; secret: string; types: OutboundType[] | null },
): Promise<OutboundEndpoint> {
  const id = newId('oep');
  await em.transactional(async (tx) => {
    // Any constant serves: two at once count one after the other.
    await tx.execute('select pg_advisory_xact_lock(20260102)');
    if ((await tx.count(OutboundEndpoint, { id: { $ne: CONFIGURED_ENDPOINT } })) >= MAX_ENDPOINTS) {
      throw new TooManyEndpointsError(`there are ${MAX_ENDPOINTS} endpoints, and there may be no more: delete one first`);
    }
    await tx.insert(OutboundEndpoint, {
      id,
      url,
      secret,
      types,
      createdAt: raw('now()'),
    } as unknown as RequiredEntityData<OutboundEndpoint>);
  });
  return em.findOneOrFail(OutboundEndpoint, id);
}

/**
 * Enters the endpoint that the environment names, or disables the one of before. One that was disabled
 * because it failed stays so until its address changes, or is taken away.
 */
export async function registerConfigured(em: EntityManager, url: string | undefined): Promise<void> {
  if (url === undefined) {
    await em.execute(
      `update outbound_endpoint set disabled_at = coalesce(disabled_at, now()), disabled_reason = ?
       where id = ? and disabled_reason is distinct from ?`,
      [NOT_CONFIGURED, CONFIGURED_ENDPOINT, NOT_CONFIGURED],
    );
    return;
  }
  await em.execute(
    `insert into outbound_endpoint (id, url) values (?, ?)
     on conflict (id) do update set url = excluded.url, failing_since = null, disabled_at = null, disabled_reason = null
       where outbound_endpoint.url <> excluded.url or outbound_endpoint.disabled_reason = ?`,
    [CONFIGURED_ENDPOINT, url, NOT_CONFIGURED],
  );
}

export async function find(em: EntityManager, id: string): Promise<OutboundEndpoint | null> {
  return em.findOne(OutboundEndpoint, id);
}

/** Newest first. @throws BadCursorError */
export async function list(em: EntityManager, page: PageRequest): Promise<Page<OutboundEndpoint>> {
  return pageByCreation(em, OutboundEndpoint, { filter: {}, ...page });
}

/** With its deliveries. False when it is not found. */
export async function remove(em: EntityManager, id: string): Promise<boolean> {
  return (await em.nativeDelete(OutboundEndpoint, { id })) === 1;
}

/**
 * What it has missed meanwhile and is not given up is delivered at once. Null when it is not found.
 *
 * @throws NotConfiguredError: nobody would deliver, nor give anything up.
 */
export async function enable(em: EntityManager, id: string): Promise<OutboundEndpoint | null> {
  return em.transactional(async (tx) => {
    if ((await tx.findOne(OutboundEndpoint, id))?.disabledReason === NOT_CONFIGURED) {
      throw new NotConfiguredError(`${NOT_CONFIGURED}: set it, and start the processes with it`);
    }
    await tx.nativeUpdate(OutboundEndpoint, { id }, { disabledAt: null, disabledReason: null, failingSince: null });
    await tx.execute(
      'update outbound_delivery set due_at = now() where endpoint_id = ? and delivered_at is null and given_up_at is null and due_at > now()',
      [id],
    );
    return tx.findOne(OutboundEndpoint, id);
  });
}

/** Something was delivered. */
export async function noteSuccess(tx: EntityManager, id: string): Promise<void> {
  await tx.execute('update outbound_endpoint set failing_since = null where id = ? and failing_since is not null', [id]);
}

/** A delivery fails first some seconds after its days have begun, and its last attempt still counts. */
const FIRST_FAILS_WITHIN = '1 minute';

/**
 * A delivery has failed, and is not recorded as that yet. It fails since now where nothing else has failed that is still
 * tried: what was given up long ago says nothing of today. Returns the reason when the endpoint is disabled by it: it is
 * gone, or nothing was delivered to it for days.
 */
export async function noteFailure(tx: EntityManager, id: string, status: number | null): Promise<string | undefined> {
  await tx.execute(
    `update outbound_endpoint set failing_since = now() where id = ? and (failing_since is null or not exists (
       select from outbound_delivery d
       where d.endpoint_id = outbound_endpoint.id and d.delivered_at is null and d.given_up_at is null and d.attempts > 0))`,
    [id],
  );
  const reason = status === 410 ? 'it answered 410 Gone' : `nothing was delivered to it for ${DELIVERY_DAYS} days`;
  const disabled = await tx.execute(
    `update outbound_endpoint set disabled_at = now(), disabled_reason = ?
     where id = ? and disabled_at is null and (? or failing_since <= now() - ? * interval '1 day' + ?::interval) returning id`,
    [reason, id, status === 410, DELIVERY_DAYS, FIRST_FAILS_WITHIN],
  );
  return disabled.length === 1 ? reason : undefined;
}
