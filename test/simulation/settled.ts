/** Whether anything of a run could still move by itself. */
import type { Deeds } from './deeds.ts';
import type { Environment } from './environment.ts';

type Whose = { organizationId: string; deeds: Deeds };

/** Nothing is open, and the quota has followed the money that went back, where the service was told of it. */
export async function isSettled(environment: Environment, all: readonly Whose[]): Promise<boolean> {
  const { rows } = await environment.sql
    .query<{ open: string }>(
      `select (select count(*) from webhook_event where organization_id = any ($1) and not processed)
            + (select count(*) from recharge where organization_id = any ($1)
                 and status in ('reserved', 'charging', 'processing', 'charged', 'refunding'))
            + (select count(*) from reversal where organization_id = any ($1) and status = 'open')
            -- A run that goes on by a person's decision closes the event anew, after its last move.
            + (select count(*) from recharge r join webhook_event e on e.id = r.event_id
                 where r.organization_id = any ($1) and r.status <> 'needs_attention' and e.outcome = 'needs_attention') as open`,
      [all.map(({ organizationId }) => organizationId)],
    )
    .catch(() => ({ rows: [{ open: '?' }] }));
  if (rows[0]?.open !== '0') return false;
  const told = all.filter(({ deeds }) => !deeds.needsReconciliation).flatMap(({ deeds }) => deeds.returned);
  const followed = await Promise.all(told.map((returned) => isFollowed(environment, returned)));
  return followed.every(Boolean);
}

/** Whether the last reversal of a refund or dispute is where its money is, or a person's. */
export async function isFollowed({ sql }: Environment, { id, kind, intentId, isGone }: Deeds['returned'][number]): Promise<boolean> {
  const { rows } = await sql
    .query<{ recharge: string; reversal: string | null }>(
      `select r.status as recharge,
              (select v.status from reversal v where v.recharge_id = r.id and split_part(v.id, '.', 1) = $2 order by v.created_at desc limit 1) as reversal
       from recharge r where r.payment_intent_id = $1`,
      [intentId, id],
    )
    .catch(() => ({ rows: [] }));
  const [found] = rows;
  if (!found) return false;
  if (found.recharge === 'needs_attention' || found.reversal === 'needs_attention') return true;
  // What was refunded elsewhere before our own refund is a part of it.
  if (found.recharge === 'refunded' && kind === 'refund') return true;
  return isGone ? found.reversal === 'taken_back' : found.reversal === null || found.reversal === 'given_back';
}
