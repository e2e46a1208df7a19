/** `/api/v1/reversals`: refunds and disputes made elsewhere, and what became of the quota. */
import express, { type Router } from 'express';
import { z } from 'zod';
import type { Recharge, Reversal } from '../database/entities.ts';
import * as names from '../database/names.ts';
import * as recharges from '../database/recharges.ts';
import * as reversals from '../database/reversals.ts';
import { formatMoney, formatQuota } from '../domain/money.ts';
import { isMoneyGone, REVERSAL_STATUSES, type ReturnedMoney } from '../domain/reversal.ts';
import { ANY_ID, rechargeByAnyId } from './any-id.ts';
import type { HttpDependencies } from './dependencies.ts';
import { text } from './fields.ts';
import { pageQuery, presentPage } from './paging.ts';
import { Problem, parse } from './problem.ts';
import { startOrLeaveToReconciliation } from './start-or-leave.ts';

const listQuery = z.strictObject({
  ...pageQuery,
  organization_id: z.string().min(1).optional(),
  status: z.enum(REVERSAL_STATUSES).optional(),
});

/** A person can only accept a reversal that needs attention: the budget is right in LiteLLM by then. */
const resolveBody = z.strictObject({
  resolution: z.literal('accept', { error: 'has to be "accept": the quota of a reversal is put right in LiteLLM, then accepted' }),
  reason: text(500),
  by: text(100).default('admin key'),
});

export function reversalRoutes({
  database,
  payments,
  workflows,
  log,
}: Pick<HttpDependencies, 'database' | 'payments' | 'workflows' | 'log'>): Router {
  const router = express.Router();

  router.get('/', async (request, response) => {
    const { limit, cursor, organization_id: organizationId, status } = parse(listQuery, request.query);
    if (organizationId) await names.requireOrganizationOfRows(database.fork(), organizationId);
    const filter = { ...(organizationId && { organizationId }), ...(status && { status }) };
    response.json(presentPage(await reversals.list(database.fork(), filter, { limit, cursor }), presentReversal));
  });

  router.get('/:id', async (request, response) => {
    const reversal = await byAnyId(request.params.id);
    response.json(presentReversal(reversal));
  });

  router.post('/:id/resolve', async (request, response) => {
    const em = database.fork();
    const reversal = await reversals.find(em, request.params.id);
    if (!reversal) throw new Problem('not-found', `there is no reversal ${request.params.id}, and the id of a recharge begins with rch_`);
    const wanted = parse(resolveBody, request.body);
    const recharge = await recharges.get(em, reversal.rechargeId);
    const isSettled =
      reversal.status === 'needs_attention' &&
      (await reversals.accept(em, reversal, { ...wanted, isGone: isMoneyGone(reversal, await moneysOf(recharge)) }));
    if (!isSettled) throw new Problem('conflict', `reversal ${reversal.id} is settled: nothing is to be done`);
    // A dispute may yet be won.
    await startOrLeaveToReconciliation(() => workflows.followReversals(recharge), log);
    response.json(presentReversal(await reversals.get(em, reversal.id)));
  });

  /** By its own id, or the last one of the recharge that the id leads to. */
  async function byAnyId(id: string): Promise<Reversal> {
    const em = database.fork();
    const own = await reversals.find(em, id);
    if (own) return own;
    const recharge = await rechargeByAnyId({ em, payments }, id);
    if (!recharge) throw new Problem('not-found', `there is no reversal ${id}: it takes the id of ${ANY_ID}`);
    const last = (await reversals.ofRecharge(em, recharge.id)).at(-1);
    if (!last) throw new Problem('not-found', `no money of recharge ${recharge.id} has gone back to the customer without us`);
    return last;
  }

  /** Every refund and dispute of the recharge as Stripe has them now. @throws PaymentsError */
  async function moneysOf({ paymentIntentId }: Recharge): Promise<ReturnedMoney[]> {
    return paymentIntentId ? payments.returnedMoneyOf(paymentIntentId) : [];
  }

  return router;
}

export function presentReversal(reversal: Reversal) {
  return {
    id: reversal.id,
    kind: reversal.kind,
    recharge_id: reversal.rechargeId,
    organization_id: reversal.organizationId,
    status: reversal.status,
    amount: formatMoney(reversal.amountMinor, reversal.currency),
    currency: reversal.currency,
    quota: formatQuota(reversal.quota),
    reason: reversal.reason ?? null,
    failure: reversal.failureMessage ?? null,
    created_at: reversal.createdAt.toISOString(),
  };
}
