/** `/api/v1/recharges` */
import express, { type Router } from 'express';
import { z } from 'zod';
import type { Database } from '../database/database.ts';
import type { LedgerTransfer, Recharge } from '../database/entities.ts';
import * as ledger from '../database/ledger.ts';
import * as recharges from '../database/recharges.ts';
import { formatMoney, formatQuota, type QuotaMicros } from '../domain/money.ts';
import { RECHARGE_STATUSES } from '../domain/recharge-status.ts';
import { pageQuery, presentPage } from './paging.ts';
import { Problem, parse } from './problem.ts';

const listQuery = z.strictObject({ ...pageQuery, organization_id: z.string().optional(), status: z.enum(RECHARGE_STATUSES).optional() });

/** @param linkTo where the Temporal Web UI shows the run of an event; null when there is no UI. */
export function rechargeRoutes(database: Database, linkTo: (eventId: string) => string | null): Router {
  const router = express.Router();

  router.get('/', async (request, response) => {
    const { limit, cursor, organization_id: organizationId, status } = parse(listQuery, request.query);
    const page = await recharges.list(
      database.fork(),
      { ...(organizationId && { organizationId }), ...(status && { status }) },
      { limit, cursor },
    );
    response.json(presentPage(page, present));
  });

  router.get('/:id', async (request, response) => {
    const em = database.fork();
    const recharge = await recharges.find(em, request.params.id);
    if (!recharge) throw new Problem('not-found', `there is no recharge ${request.params.id}`);
    const transfers = await ledger.transfersOf(em, recharge.id);
    response.json({
      ...present(recharge),
      timeline: recharge.timeline,
      ledger_transfers: transfers.map(presentTransfer),
      temporal_ui_url: linkTo(recharge.eventId),
    });
  });

  return router;
}

function present(recharge: Recharge) {
  return {
    id: recharge.id,
    event_id: recharge.eventId,
    organization_id: recharge.organizationId,
    litellm_team_id: recharge.litellmTeamId,
    source: recharge.source,
    status: recharge.status,
    amount: formatMoney(recharge.amountMinor, recharge.currency),
    currency: recharge.currency,
    quota: formatQuota(recharge.quotaGranted),
    balance_seen: formatQuota(recharge.balanceSeen),
    quota_before: quotaOrNull(recharge.quotaBefore),
    quota_after: quotaOrNull(recharge.quotaAfter),
    payment_intent_id: recharge.paymentIntentId ?? null,
    payment_method_id: recharge.paymentMethodId ?? null,
    refund_id: recharge.refundId ?? null,
    failure: recharge.failureMessage
      ? {
          code: recharge.failureCode ?? null,
          decline_code: recharge.declineCode ?? null,
          advice_code: recharge.adviceCode ?? null,
          message: recharge.failureMessage,
        }
      : null,
    created_at: recharge.createdAt.toISOString(),
    updated_at: recharge.updatedAt.toISOString(),
  };
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

function quotaOrNull(quota: QuotaMicros | null | undefined): string | null {
  return quota === null || quota === undefined ? null : formatQuota(quota);
}
