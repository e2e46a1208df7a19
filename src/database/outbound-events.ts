/**
 * Outbound events: stored in the transaction of the move that they tell of, so that neither is ever there
 * without the other. The dispatcher delivers them; see src/outbox.
 */
import { raw } from '@mikro-orm/core';
import type { OutboundData, OutboundType } from '../domain/outbound-event.ts';
import type { EntityManager } from './database.ts';
import { OutboundEvent } from './entities.ts';
import { newId } from './ids.ts';
import { type Page, type PageRequest, pageById } from './page.ts';

export type Told<Type extends OutboundType> = {
  type: Type;
  /** null: it is about the service. */
  organizationId: string | null;
  /** What is told once, such as `recharge/rch_1/succeeded`. */
  key: string;
  data: OutboundData[Type];
};

/**
 * Enters an outbound event in the caller's transaction. A second one of the same key changes nothing.
 *
 * @returns whether it is new.
 */
export async function tell<Type extends OutboundType>(
  tx: EntityManager,
  { type, organizationId, key, data }: Told<Type>,
): Promise<boolean> {
  const rows = await tx.execute(
    `insert into outbound_event (id, type, organization_id, key, data) values (?, ?, ?, ?, ?::jsonb)
     on conflict (key) do nothing returning id`,
    [newId('obe'), type, organizationId, key, JSON.stringify({ organization_id: organizationId, ...data })],
  );
  return rows.length === 1;
}

export async function find(em: EntityManager, id: string): Promise<OutboundEvent | null> {
  return em.findOne(OutboundEvent, id);
}

/** `isFailed`: an endpoint has not taken the event yet, after one attempt or more. */
export type OutboundEventFilter = Partial<Pick<OutboundEvent, 'type' | 'organizationId'>> & { isFailed?: boolean };

/** Newest first. @throws BadCursorError */
export async function list(
  em: EntityManager,
  { isFailed = false, ...filter }: OutboundEventFilter,
  page: PageRequest,
): Promise<Page<OutboundEvent>> {
  const failed = raw((alias) => `${alias}.id in (select event_id from outbound_delivery where delivered_at is null and attempts > 0)`);
  return pageById(em, OutboundEvent, { prefix: 'obe', filter: { ...filter, ...(isFailed && { [failed]: [] }) }, ...page });
}
