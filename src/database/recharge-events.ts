/** What is told of a recharge: of each status that somebody waits for, and that it does not settle. */
import { LockMode } from '@mikro-orm/core';
import { formatMoney, formatQuota, formatQuotaOrNull, moneyText } from '../domain/money.ts';
import { actionOnRecharge, type OutboundData } from '../domain/outbound-event.ts';
import { OVERDUE_STATUSES, overdueAfter, underWaySince } from '../domain/overdue.ts';
import type { RechargeStatus } from '../domain/recharge-status.ts';
import type { EntityManager } from './database.ts';
import { Recharge, type TimelineStep } from './entities.ts';
import { tell } from './outbound-events.ts';
import { sqlList } from './sql.ts';

/** Tells that the recharge has come to its status, where that is told. In the transaction of the move. */
export async function tellStatus(tx: EntityManager, recharge: Recharge): Promise<void> {
  const { organizationId, status } = recharge;
  const facts = factsOf(recharge);
  const about = { organizationId, key: `recharge/${recharge.id}/${status}${suffixOf(arrivalsAt(recharge, status))}` };
  switch (status) {
    case 'succeeded': {
      const budgets = { quota_before: formatQuotaOrNull(recharge.quotaBefore), quota_after: formatQuotaOrNull(recharge.quotaAfter) };
      await tell(tx, { type: 'recharge.succeeded', ...about, data: { ...facts, ...budgets } });
      break;
    }
    case 'declined':
      await tell(tx, {
        type: 'recharge.declined',
        ...about,
        data: { ...facts, ...declineOf(recharge), action: actionOnDecline(recharge) },
      });
      break;
    case 'action_required':
      await tell(tx, {
        type: 'recharge.action_required',
        ...about,
        data: { ...facts, ...declineOf(recharge), action: actionOnAuthentication(recharge) },
      });
      break;
    case 'refunded':
      await tell(tx, { type: 'recharge.refunded', ...about, data: { ...facts, refund_id: recharge.refundId ?? null } });
      break;
    case 'needs_attention':
      await tell(tx, { type: 'recharge.needs_attention', ...about, data: { ...facts, action: actionOnRecharge(recharge.id) } });
      break;
  }
}

/** Up to `limit` recharges behind the id `after` that have an intent and are not settled, in the order of ids. */
export async function unsettled(em: EntityManager, { after, limit }: { after: string; limit: number }): Promise<string[]> {
  const rows = await em.execute<{ id: string }[]>(
    `select id from recharge where payment_intent_id is not null and status in (${sqlList(OVERDUE_STATUSES)}) and id > ?
     order by id limit ?`,
    [after, limit],
  );
  return rows.map(({ id }) => id);
}

/** Tells that a recharge does not settle, where it is overdue. Returns what is told for the first time. */
export async function tellOverdue(em: EntityManager, id: string): Promise<OutboundData['recharge.overdue'] | undefined> {
  return em.transactional(async (tx) => {
    // Locked, so that it cannot settle before it is told that it does not.
    const recharge = await tx.findOne(Recharge, id, { lockMode: LockMode.PESSIMISTIC_READ });
    const underWay = recharge && underWaySince(recharge.timeline);
    const after = underWay && overdueAfter(underWay.since, await databaseTime(tx));
    if (!recharge || !underWay || !after) return undefined;
    const data = {
      ...factsOf(recharge),
      detail: `${amountOf(recharge)} is not settled: the recharge is ${recharge.status} since ${underWay.since.toISOString()}`,
      status: recharge.status,
      since: underWay.since.toISOString(),
      overdue_after: after,
      action: actionOnOverdue(recharge),
    };
    const key = `recharge/${id}/overdue/${after}${suffixOf(underWay.round)}`;
    const isNew = await tell(tx, { type: 'recharge.overdue', organizationId: recharge.organizationId, key, data });
    return isNew ? data : undefined;
  });
}

/** Timelines have PostgreSQL's clock. */
async function databaseTime(tx: EntityManager): Promise<Date> {
  const [row] = await tx.execute<{ now: Date }[]>('select clock_timestamp() as now');
  return new Date(row?.now ?? Number.NaN);
}

function factsOf(recharge: Recharge) {
  return {
    recharge_id: recharge.id,
    event_id: recharge.eventId,
    litellm_team_id: recharge.litellmTeamId,
    source: recharge.source,
    amount: formatMoney(recharge.amountMinor, recharge.currency),
    currency: recharge.currency,
    quota: formatQuota(recharge.quotaGranted),
    payment_intent_id: recharge.paymentIntentId ?? null,
    detail: detailOf(recharge),
  };
}

/** The words of the last step: a person's, ours, or Stripe's. */
function detailOf(recharge: Recharge): string {
  const { status, timeline, failureMessage } = recharge;
  const last = timeline.at(-1);
  if (last?.['by']) return `${last['by']} settled it (${last['resolution']}): ${last['reason']}`;
  if (status === 'succeeded') return `${amountOf(recharge)} charged, and the budget raised from ${budgetsOf(last)}`;
  if (status === 'refunded') return `${amountOf(recharge)} refunded: ${reasonIn(timeline) ?? 'the budget could not be raised'}`;
  return reasonIn(timeline.slice(-1)) ?? failureMessage ?? status;
}

function reasonIn(timeline: readonly TimelineStep[]): string | undefined {
  return timeline.findLast(({ reason }) => typeof reason === 'string')?.['reason']?.toString();
}

function budgetsOf(step: TimelineStep | undefined): string {
  return `${step?.['quota_before'] ?? '?'} to ${step?.['quota_after'] ?? '?'}`;
}

function amountOf({ amountMinor, currency }: Recharge): string {
  return moneyText(amountMinor, currency);
}

function declineOf({ failureCode, declineCode }: Recharge) {
  return { failure_code: failureCode ?? null, decline_code: declineCode ?? null };
}

function actionOnDecline({ stripeCustomerId }: Recharge): string {
  return `the customer (${stripeCustomerId} at Stripe) needs a default card that works: the next sweep charges it`;
}

function actionOnAuthentication({ stripeCustomerId }: Recharge): string {
  return `the customer (${stripeCustomerId} at Stripe) has to confirm a card with the bank, for use without them; then end the hold (bill holds, bill release), and the next sweep charges it`;
}

function actionOnOverdue({ id, status }: Recharge): string {
  const server = { charging: 'Stripe', charged: 'LiteLLM', refunding: 'Stripe' }[status as (typeof OVERDUE_STATUSES)[number]];
  return `bill doctor says whether ${server} answers: then the run goes on; or end it, by ${actionOnRecharge(id)}`;
}

/** How often the recharge has come to the status. A step that leaves it where it is, is no arrival. */
function arrivalsAt({ timeline }: Recharge, status: RechargeStatus): number {
  return timeline.filter((step, index) => step.status === status && timeline[index - 1]?.status !== status).length;
}

/** Of a further time, in the key. */
function suffixOf(time: number): string {
  return time > 1 ? `/${time}` : '';
}
