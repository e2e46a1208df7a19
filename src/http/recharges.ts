/** `/api/v1/recharges` */
import express, { type Router } from 'express';
import { z } from 'zod';
import type { LedgerTransfer, Recharge } from '../database/entities.ts';
import * as holds from '../database/holds.ts';
import * as ledger from '../database/ledger.ts';
import * as names from '../database/names.ts';
import * as recharges from '../database/recharges.ts';
import * as resolutions from '../database/resolutions.ts';
import * as reversals from '../database/reversals.ts';
import * as webhookEvents from '../database/webhook-events.ts';
import { formatMoney, formatQuota, formatQuotaOrNull, type MinorUnits, minorUnits } from '../domain/money.ts';
import { isOpen, RECHARGE_STATUSES, type RechargeStatus } from '../domain/recharge-status.ts';
import { RESOLUTIONS, resolutionsOf } from '../domain/resolution.ts';
import { stepText, storyOf } from '../domain/story.ts';
import { followReturnedMoney } from '../inbox/follow-returned-money.ts';
import { ANY_ID, rechargeByAnyId } from './any-id.ts';
import type { HttpDependencies } from './dependencies.ts';
import { text } from './fields.ts';
import { presentHolds } from './holds.ts';
import { pageQuery, presentPage } from './paging.ts';
import { Problem, parse } from './problem.ts';
import { resolveRecharge } from './resolve-recharge.ts';
import { presentReversal } from './reversals.ts';
import { hindranceOf, type ServiceNeeds } from './service-now.ts';
import { startOrLeaveToReconciliation } from './start-or-leave.ts';

const listQuery = z.strictObject({
  ...pageQuery,
  organization_id: z.string().min(1).optional(),
  status: z.enum(RECHARGE_STATUSES).optional(),
  stuck: z.stringbool().optional(),
});

const resolveBody = z.strictObject({
  resolution: z.enum(RESOLUTIONS),
  reason: text(500),
  by: text(100).default('admin key'),
});

export function rechargeRoutes({
  database,
  payments,
  workflows,
  links,
  log,
  ...service
}: Pick<HttpDependencies, 'database' | 'payments' | 'workflows' | 'links' | 'log' | ServiceNeeds>): Router {
  const router = express.Router();

  router.get('/', async (request, response) => {
    const { limit, cursor, organization_id: organizationId, status, stuck = false } = parse(listQuery, request.query);
    if (organizationId) await names.requireOrganizationOfRows(database.fork(), organizationId);
    const page = await recharges.list(
      database.fork(),
      { ...(organizationId && { organizationId }), ...(status && { status }), stuck },
      { limit, cursor },
    );
    const returned = await reversals.returnedOf(
      database.fork(),
      page.data.map(({ id }) => id),
    );
    response.json(presentPage(page, (recharge) => present(recharge, returned.get(recharge.id))));
  });

  router.get('/:id', async (request, response) => {
    const recharge = await rechargeByAnyId({ em: database.fork(), payments }, request.params.id);
    if (!recharge) throw missing(request.params.id);
    response.json(await presentWhole(recharge));
  });

  router.post('/:id/resolve', async (request, response) => {
    const wanted = parse(resolveBody, request.body);
    const em = database.fork();
    const recharge = await recharges.find(em, request.params.id);
    if (!recharge) throw missing(request.params.id);
    const event = await webhookEvents.find(em, recharge.eventId);
    const resolved = await resolveRecharge({ em, payments }, recharge, wanted).catch((error) => {
      throw error instanceof resolutions.NotResolvableError ? new Problem('conflict', error.message) : error;
    });
    if (isOpen(resolved.status) && event) {
      const toRestart = { ...event, organizationId: resolved.organizationId, teamId: resolved.litellmTeamId };
      await startOrLeaveToReconciliation(() => workflows.restartRecharge(toRestart), log);
    }
    if (resolved.status === 'cancelled' || resolved.status === 'succeeded')
      await webhookEvents.close(em, recharge.eventId, resolved.status);
    // Its money may have been refunded or disputed meanwhile: then the quota follows it.
    const intentId = resolved.paymentIntentId;
    if (intentId) await startOrLeaveToReconciliation(() => followReturnedMoney({ database, payments, workflows }, intentId), log);
    response.json(await presentWhole(resolved));
  });

  async function presentWhole(recharge: Recharge) {
    const em = database.fork();
    const event = await webhookEvents.find(em, recharge.eventId);
    const returned = await reversals.ofRecharge(em, recharge.id);
    const transfers = await ledger.transfersOf(em, recharge.id);
    const told = returned.map((reversal) => ({ ...reversal, takenAt: takingOf(reversal.id, transfers) }));
    const opened = await holds.openedBy(em, recharge.organizationId, [recharge.id, ...returned.map(({ id }) => id)]);
    const now = new Date();
    const isUnderWay = isOpen(recharge.status) && recharge.status !== 'needs_attention' && recharge.status !== 'processing';
    const hindrance = isUnderWay ? await hindranceOf({ workflows, ...service }, { em, run: recharge, now }) : undefined;
    const { summary, next, steps } = storyOf(recharge, { event, reversals: told, holds: opened, hindrance }, now);
    return {
      ...present(recharge, (await reversals.returnedOf(em, [recharge.id])).get(recharge.id)),
      summary,
      next,
      story: steps.map(({ at, what }) => ({ at: at.toISOString(), what })),
      timeline: recharge.timeline,
      ledger_transfers: transfers.map(presentTransfer),
      reversals: returned.map(presentReversal),
      holds: await presentHolds(em, opened),
      temporal_ui_url: links.recharge(recharge),
    };
  }

  return router;
}

function missing(id: string): Problem {
  return new Problem('not-found', `no recharge belongs to ${id}: it takes the id of ${ANY_ID}`);
}

/** What was to be written was not written, or was taken back. */
const WITHOUT_QUOTA: ReadonlySet<RechargeStatus> = new Set(['declined', 'action_required', 'cancelled', 'refunding', 'refunded']);

/** @param returned what of it the customer has again by refunds and disputes made elsewhere: with it `succeeded` is half of the truth. */
function present(recharge: Recharge, returned: MinorUnits = minorUnits(0)) {
  return {
    id: recharge.id,
    event_id: recharge.eventId,
    organization_id: recharge.organizationId,
    litellm_team_id: recharge.litellmTeamId,
    source: recharge.source,
    status: recharge.status,
    amount: formatMoney(recharge.amountMinor, recharge.currency),
    currency: recharge.currency,
    returned: formatMoney(recharge.status === 'refunded' ? recharge.amountMinor : returned, recharge.currency),
    quota: formatQuota(recharge.quotaGranted),
    balance_seen: formatQuota(recharge.balanceSeen),
    quota_before: formatQuotaOrNull(recharge.quotaBefore),
    quota_after: WITHOUT_QUOTA.has(recharge.status) ? null : formatQuotaOrNull(recharge.quotaAfter),
    payment_intent_id: recharge.paymentIntentId ?? null,
    payment_method_id: recharge.paymentMethodId ?? null,
    refund_id: recharge.refundId ?? null,
    resolutions: resolutionsOf(recharge.status, recharge.paymentIntentId !== null),
    failure: failureOf(recharge),
    created_at: recharge.createdAt.toISOString(),
    updated_at: recharge.updatedAt.toISOString(),
  };
}

/** Why the recharge has brought no quota, or needs a person, or what that person has decided; null where nothing went wrong. */
function failureOf(recharge: Recharge) {
  const { status, timeline, failureCode = null, declineCode = null, adviceCode = null, failureMessage } = recharge;
  const reasoned = timeline.findLast((step) => step['reason'] && !step['reversal']);
  // Why it was parked is not why it is as it is now.
  if (reasoned?.['resolution']) return { code: null, decline_code: null, advice_code: null, message: stepText(recharge, reasoned) };
  // Why the money goes back, or why nothing was charged: the timeline has it.
  const isOver = status === 'refunding' || status === 'refunded' || status === 'cancelled';
  const message = failureMessage ?? (isOver && reasoned ? String(reasoned['reason']) : null);
  return message === null ? null : { code: failureCode, decline_code: declineCode, advice_code: adviceCode, message };
}

/** When the quota of a reversal was taken: the ledger keeps that, whatever has followed. */
function takingOf(reversalId: string, transfers: readonly LedgerTransfer[]): Date | null {
  return transfers.find(({ kind, reference }) => kind === 'reversal' && reference === reversalId)?.createdAt ?? null;
}

function presentTransfer(transfer: LedgerTransfer) {
  return {
    id: transfer.id,
    kind: transfer.kind,
    debit_account: transfer.debitAccount,
    credit_account: transfer.creditAccount,
    amount: formatMoney(transfer.amountMinor, transfer.currency),
    currency: transfer.currency,
    quota: formatQuota(transfer.quotaMicros),
    created_at: transfer.createdAt.toISOString(),
  };
}
