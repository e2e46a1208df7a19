/** Compares what the database believes with what Stripe and LiteLLM show, and resumes what is safe to resume. */
import type { EntityManager } from '../../src/database/database.ts';
import type { Recharge } from '../../src/database/entities.ts';
import * as ledger from '../../src/database/ledger.ts';
import * as organizations from '../../src/database/organizations.ts';
import * as recharges from '../../src/database/recharges.ts';
import * as reversals from '../../src/database/reversals.ts';
import * as webhookEvents from '../../src/database/webhook-events.ts';
import { currency, formatQuota, minorUnits } from '../../src/domain/money.ts';
import { isOpen } from '../../src/domain/recharge-status.ts';
import { isFollowed } from '../../src/domain/reversal.ts';
import { KmsError } from '../../src/kms/errors.ts';
import type { Intent, IntentMetadata } from '../../src/payments/intent.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { BudgetsPage, Finding, IntentsPage, LostIntent } from '../types.ts';

/** A run that works moves its recharge within seconds; one that waits for a bank or for LiteLLM is running, which is looked at. */
const IDLE_MS = 2 * 60 * 1000;
const IDLE_LIMIT = 500;
const PAGE = 100;
/** Refunds fail, and disputes end, within four months of their making; what is older has been looked at thousands of times. */
const RETURNED_LOOK_BACK_MS = 120 * 24 * 60 * 60 * 1000;

/** Starts the run of every event again that is open and has none: terminated, or lost with Temporal's database. */
export function resumeIdle({ database, workflows }: Pick<ActivityDependencies, 'database' | 'workflows'>) {
  return async ({ fix }: { fix: boolean }): Promise<Finding[]> => {
    const findings: Finding[] = [];
    for (const event of await webhookEvents.findIdle(database.fork(), IDLE_MS, IDLE_LIMIT)) {
      if (await workflows.isRechargeRunning(event.id)) continue;
      if (fix) await workflows.restartRecharge(event);
      findings.push({
        kind: 'run_missing',
        subject: event.id,
        organizationId: event.organizationId,
        seen: 'an open event without a run',
        expected: 'a run, or an outcome',
        settled: fix,
        command: 'bill reconcile --fix',
      });
    }
    return findings;
  };
}

/** One page of our intents at Stripe, newest first, against recharges and ledger. */
export function compareIntents({ database, payments, workflows }: Pick<ActivityDependencies, 'database' | 'payments' | 'workflows'>) {
  return async ({ since, after, fix }: { since: string; after?: string; fix: boolean }): Promise<IntentsPage> => {
    const em = database.fork();
    const { intents, hasMore } = await payments.intentsSince(new Date(since), PAGE, after);
    const page: IntentsPage = { compared: 0, findings: [], lost: [], next: hasMore ? (intents.at(-1)?.id ?? null) : null };
    if (after === undefined) page.findings.push(...(await followReturnedMoney(em, payments, workflows, fix)));
    for (const intent of intents) {
      if (!intent.metadata) continue;
      page.compared++;
      const recharge = await recharges.find(em, intent.metadata.rechargeId);
      if (!recharge) {
        if (!intent.isCanceled && intent.outcome.kind !== 'unconfirmed') page.lost.push({ intentId: intent.id });
        continue;
      }
      const finding = await compare(em, recharge, intent, fix);
      if (finding) page.findings.push(finding);
    }
    return page;
  };
}

/**
 * Looks at refunds and disputes by their own age, for they come long after the charge: a refund may fail after a month, and a
 * customer may dispute for four. What has not been followed gets a run that does so, with `fix`.
 */
async function followReturnedMoney(
  em: EntityManager,
  payments: ActivityDependencies['payments'],
  workflows: ActivityDependencies['workflows'],
  fix: boolean,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { intentId, money } of await payments.returnedSince(new Date(Date.now() - RETURNED_LOOK_BACK_MS))) {
    const recharge = await recharges.findByIntent(em, intentId);
    if (!recharge || isFollowed(recharge, money, await reversals.of(em, recharge.id))) continue;
    if (fix) await workflows.followReversals(recharge);
    findings.push({
      kind: 'money_returned',
      subject: money.id,
      organizationId: recharge.organizationId,
      seen: `the money of ${money.kind} ${money.id} ${money.isGone ? 'has gone back to the customer' : 'is here again'}`,
      expected: `recharge ${recharge.id} to have followed it`,
      settled: fix,
      command: 'bill reconcile --fix',
    });
  }
  return findings;
}

async function compare(em: EntityManager, recharge: Recharge, intent: Intent, fix: boolean): Promise<Finding | undefined> {
  const finding = {
    subject: recharge.id,
    organizationId: recharge.organizationId,
    command: `bill resolve ${recharge.id} --grant | --refund | --accept "reason"`,
  };
  const isCharged = (await ledger.transfersOf(em, recharge.id)).some(({ kind }) => kind === 'charge');
  if (intent.outcome.kind === 'captured' && !isCharged && !isOpen(recharge.status)) {
    const reason = `PaymentIntent ${intent.id} was captured, the recharge is ${recharge.status}`;
    const portion = { reference: '', amountMinor: minorUnits(intent.outcome.amountMinor), quotaMicros: recharge.quotaGranted };
    if (fix) await recharges.reopen(em, recharge, { code: 'unexpected_charge', reason, transfer: 'charge', portion });
    return { ...finding, kind: 'captured_unknown', seen: reason, expected: 'not captured', settled: false };
  }
  if (isCharged && intent.outcome.kind !== 'captured') {
    return {
      ...finding,
      kind: 'ledger_without_capture',
      seen: `PaymentIntent ${intent.id} is ${intent.status}`,
      expected: 'captured, as the ledger says',
      settled: false,
    };
  }
  return undefined;
}

/**
 * Enters the recharge of a captured intent again that the database has lost, and starts its run, which settles it by the
 * budgets that the intent remembers. One at a time for each organization, so the oldest come first.
 */
export function restoreLost({ database, payments, workflows }: Pick<ActivityDependencies, 'database' | 'payments' | 'workflows'>) {
  return async ({ intentId, fix }: LostIntent & { fix: boolean }): Promise<Finding> => {
    const em = database.fork();
    const intent = await payments.readIntent(intentId);
    const metadata: Partial<IntentMetadata> = intent.metadata ?? {};
    const { rechargeId: id = '', eventId = '', organizationId = '', litellmTeamId: teamId = '' } = metadata;
    const { quota = null, quotaBefore = null, balance = null } = metadata;
    const finding = {
      kind: 'recharge_lost' as const,
      subject: id,
      organizationId,
      seen: `PaymentIntent ${intentId} is ${intent.status}`,
      expected: 'its recharge in the database',
    };
    const organization = await organizations.find(em, organizationId);
    if (!organization || quota === null || quotaBefore === null || balance === null) {
      return { ...finding, settled: false, command: `create organization ${organizationId} again, then bill reconcile --fix` };
    }
    if (!fix) return { ...finding, settled: false, command: 'bill reconcile --fix' };
    await webhookEvents.restore(em, eventId, organizationId, teamId);
    const restored = await recharges.restore(em, {
      id,
      eventId,
      organizationId,
      litellmTeamId: teamId,
      stripeCustomerId: intent.customerId ?? organization.stripeCustomerId,
      amountMinor: minorUnits(intent.amountMinor),
      currency: currency(intent.currency),
      quotaGranted: quota,
      balanceSeen: balance,
      quotaBefore,
      paymentIntentId: intent.id,
    });
    const event = { id: eventId, organizationId, teamId, source: 'webhook' as const, eventType: 'restored' };
    if (restored) await workflows.restartRecharge(event);
    return { ...finding, settled: restored, command: 'bill reconcile --fix, when the open recharge of the organization is settled' };
  };
}

/** One page of organizations: the team's budget in LiteLLM against what the last change of ours made of it, and the ledger's chain. */
export function compareBudgets({ database, kms }: Pick<ActivityDependencies, 'database' | 'kms'>) {
  return async ({ after }: { after?: string }): Promise<BudgetsPage> => {
    const em = database.fork();
    const { data, nextCursor } = await organizations.list(em, { limit: PAGE, cursor: after });
    const findings: Finding[] = [];
    const budgets = await organizations.budgetsLeft(
      em,
      data.map(({ id }) => id),
    );
    for (const { id, litellmTeamId } of data) {
      const { faults } = await ledger.verify(em, id);
      for (const { sequence, fault } of faults) {
        findings.push({
          kind: 'ledger_changed',
          subject: `transfer ${sequence}`,
          organizationId: id,
          seen: fault,
          expected: 'an unbroken chain',
          settled: false,
          command: 'bill ledger verify',
        });
      }
      for (const { id: subject, failureMessage } of await reversals.parked(em, id)) {
        const seen = failureMessage ?? 'needs attention';
        findings.push({
          kind: 'reversal_parked',
          subject,
          organizationId: id,
          seen,
          expected: 'the quota follows the money',
          settled: false,
          command: `bill resolve ${subject} --accept "reason", when max_budget in LiteLLM is right`,
        });
      }
      const left = budgets.get(id);
      if (left === undefined) continue;
      const live = await kms.teamBudget(litellmTeamId).then(
        ({ quota }) => (quota === null ? 'unlimited' : formatQuota(quota)),
        (error) => {
          if (error instanceof KmsError && error.kind === 'not_found') return 'no such team';
          throw error;
        },
      );
      const expected = formatQuota(left);
      // A recharge or reversal that came between our two looks is no edit.
      if (live === expected || (await organizations.budgetsLeft(em, [id])).get(id) !== left) continue;
      findings.push({
        kind: 'budget_differs',
        subject: litellmTeamId,
        organizationId: id,
        seen: `max_budget ${live}`,
        expected: `${expected}, as our last recharge or reversal left it, unless somebody has edited it since`,
        settled: false,
        command: 'look at it in LiteLLM',
      });
    }
    return { compared: data.length, findings, next: nextCursor };
  };
}
