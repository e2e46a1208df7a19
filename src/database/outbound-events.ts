/**
 * Outbound events: stored in the transaction of the move that they tell of, so that neither is ever there
 * without the other. The dispatcher delivers them; see src/outbox.
 */
import type { OutboundData, OutboundType } from '../domain/outbound-event.ts';
import type { EntityManager } from './database.ts';
import { newId } from './ids.ts';

export type Told<Type extends OutboundType> = {
  type: Type;
  /** null: it is about the service. */
  organizationId: string | null;
  /** What is told once and for ever, such as `recharge/rch_1/succeeded`. */
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
