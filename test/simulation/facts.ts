/**
 * What is true of a run's organization when everything has settled, as the database, the stand-ins and
 * Temporal tell it.
 */
import type { WorkflowExecutionDescription } from '@temporalio/client';
import axios from 'axios';
import { verify } from '../../src/database/ledger.ts';
import type { TransferKind } from '../../src/domain/ledger.ts';
import { rechargeWorkflowId } from '../../src/temporal/starter.ts';
import type { Environment } from './environment.ts';
import type { Run } from './run.ts';
import { playsAlone } from './schedule.ts';

export type EventFact = {
  id: string;
  eventType: string;
  crossing: string | null;
  duplicateOf: string | null;
  processed: boolean;
  success: boolean | null;
  outcome: string | null;
  receivedAt: Date;
  processedAt: Date | null;
};
export type RechargeFact = {
  id: string;
  eventId: string;
  status: string;
  amount: number;
  quota: number;
  intentId: string | null;
  quotaBefore: number | null;
  quotaAfter: number | null;
  /** What it was declined or called off for, by code and in words. */
  failureCode: string | null;
  failure: string | null;
  timeline: { at: string; status: string; restored?: number }[];
  createdAt: Date;
};
/** `reference`: the refund or reversal that a transfer belongs to, empty for the recharge itself. */
export type TransferFact = { rechargeId: string; kind: TransferKind; reference: string; amount: number; quota: number };
/** `at`: the beginning of its second, in milliseconds. `disputed`: what the customer has by disputes that are not won. */
export type ChargeFact = { intentId: string; rechargeId: string; at: number; captured: number; refunded: number; disputed: number };
/** Budgets in dollars; null where no write was planned. */
export type ReversalFact = {
  id: string;
  rechargeId: string;
  kind: 'refund' | 'dispute';
  status: string;
  quota: number;
  takenBefore: number | null;
  takenAfter: number | null;
  givenBefore: number | null;
  givenAfter: number | null;
  failure: string | null;
  createdAt: Date;
};
/** The card's network, or the bank, was asked: `status` is the charge's at Stripe. `at`: the beginning of its second, in milliseconds. */
export type AttemptFact = { rechargeId: string; at: number; amount: number; status: string };
/** Times are as they are stored in the end; see Clock. */
export type HoldFact = {
  id: string;
  scope: 'service' | 'organization' | 'card';
  reason: string;
  detail: string;
  /** Who has opened it, then each that was added to it. */
  openedBy: string;
  since: Date;
  until: Date | null;
  releasedAt: Date | null;
  releasedBy: string | null;
  amount: number | null;
  quota: number | null;
};
export type IntentFact = { id: string; status: string };
export type BudgetWrite = { before: number | null; max_budget: number | null };
export type Request = { server: 'Stripe' | 'LiteLLM'; method: string; path: string; status: number; detail: string };

export type Facts = {
  events: EventFact[];
  recharges: RechargeFact[];
  transfers: TransferFact[];
  reversals: ReversalFact[];
  /** Captured ones only. */
  charges: ChargeFact[];
  attempts: AttemptFact[];
  /** Recharges whose attempt on the card is counted as failed. */
  failuresCounted: string[];
  /** Of the organization and its card, and of the service where nobody else plays; since the run began. */
  holds: HoldFact[];
  /** The key of each outbound event about the organization or one of its holds. */
  told: string[];
  intents: IntentFact[];
  /** Undefined when the team is deleted. Dollars. */
  team: { max_budget: number | null; spend: number; budgetWrites: BudgetWrite[] } | undefined;
  /** What LiteLLM was asked about the team, in order. */
  kmsRequests: Request[];
  /** What is wrong with the organization's chain of ledger transfers. */
  chainFaults: string[];
  /** Workflows of its events that have not ended, by id. */
  running: string[];
};

/** An organization of a run, and what is true of it in the end. */
export type Judged = { run: Run; facts: Facts };

const MAX_LIST = 100;

export async function gather(environment: Environment, run: Run): Promise<Facts> {
  const events = await eventsOf(environment, run);
  const holds = await holdsOf(environment, run);
  const [recharges, transfers, reversals, attempted, failuresCounted, told, intents, kms, chain, running] = await Promise.all([
    rechargesOf(environment, run),
    transfersOf(environment, run),
    reversalsOf(environment, run),
    chargesOf(environment, run),
    failuresCountedOf(environment, run),
    toldOf(environment, run, holds),
    environment.stripe.paymentIntents.list({ customer: run.customerId, limit: MAX_LIST }),
    kmsOf(environment, run),
    verify(environment.database.fork(), run.organizationId),
    runningOf(environment, run, events),
  ]);
  const chainFaults = chain.faults.map(({ sequence, fault }) => `transfer ${sequence}: ${fault}`);
  const statuses = intents.data.map(({ id, status }) => ({ id, status }));
  return {
    events,
    recharges,
    transfers,
    reversals,
    ...attempted,
    failuresCounted,
    holds,
    told,
    intents: statuses,
    ...kms,
    chainFaults,
    running,
  };
}

async function eventsOf({ sql }: Environment, { organizationId }: Run): Promise<EventFact[]> {
  const { rows } = await sql.query<EventFact>(
    `select id, event_type as "eventType", crossing, duplicate_of as "duplicateOf", processed, success, outcome,
            received_at as "receivedAt", processed_at as "processedAt"
     from webhook_event where organization_id = $1 order by id`,
    [organizationId],
  );
  return rows;
}

async function rechargesOf({ sql }: Environment, { organizationId }: Run): Promise<RechargeFact[]> {
  const { rows } = await sql.query<RechargeFact>(
    `select id, event_id as "eventId", status, amount_minor::int as amount, quota_granted::float as quota, payment_intent_id as "intentId",
            quota_before::float as "quotaBefore", quota_after::float as "quotaAfter", failure_code as "failureCode",
            failure_message as failure, timeline, created_at as "createdAt"
     from recharge where organization_id = $1 order by id`,
    [organizationId],
  );
  return rows;
}

async function transfersOf({ sql }: Environment, { organizationId }: Run): Promise<TransferFact[]> {
  const { rows } = await sql.query<TransferFact>(
    `select recharge_id as "rechargeId", kind, reference, amount_minor::int as amount, (quota_micros / 1e6)::float as quota
     from ledger_transfer where organization_id = $1 order by sequence`,
    [organizationId],
  );
  return rows;
}

async function reversalsOf({ sql }: Environment, { organizationId }: Run): Promise<ReversalFact[]> {
  const { rows } = await sql.query<ReversalFact>(
    `select id, recharge_id as "rechargeId", kind, status, quota::float as quota, taken_before::float as "takenBefore",
            taken_after::float as "takenAfter", given_before::float as "givenBefore", given_after::float as "givenAfter",
            failure_message as failure, created_at as "createdAt"
     from reversal where organization_id = $1 order by created_at, id`,
    [organizationId],
  );
  return rows;
}

async function chargesOf({ stripe }: Environment, { customerId }: Run): Promise<{ charges: ChargeFact[]; attempts: AttemptFact[] }> {
  const list = await stripe.charges.list({ customer: customerId, limit: MAX_LIST, expand: ['data.payment_intent'] });
  const all = await Promise.all(
    list.data.map(async (charge) => {
      const { id, payment_intent: intent, created, status, captured, amount, amount_captured, amount_refunded } = charge;
      if (!intent || typeof intent === 'string') throw new Error('a charge without its intent');
      const of = { intentId: intent.id, rechargeId: intent.metadata['recharge_id'] ?? '', at: created * 1_000, status, amount };
      const disputes = charge.disputed ? (await stripe.disputes.list({ charge: id })).data : [];
      const disputed = disputes.reduce((sum, dispute) => (dispute.status === 'won' ? sum : sum + dispute.amount), 0);
      return { ...of, isCaptured: status === 'succeeded' && captured, captured: amount_captured, refunded: amount_refunded, disputed };
    }),
  );
  return { charges: all.filter(({ isCaptured }) => isCaptured), attempts: all };
}

/** The run's others may have opened them, on a card that they share. */
async function holdsOf({ sql }: Environment, { organizationId, fingerprint, schedule, startedAt, clock }: Run): Promise<HoldFact[]> {
  const { rows } = await sql.query<HoldFact>(
    `select id, scope, reason, detail, opened_by as "openedBy", since, until, released_at as "releasedAt", released_by as "releasedBy", amount_minor::int as amount,
            quota::float as quota
     from hold where scope = 'service' and $3 or scope = 'organization' and subject = $1 or scope = 'card' and subject like $2 order by since, id`,
    [organizationId, `${fingerprint}%`, playsAlone(schedule)],
  );
  return rows.filter(({ since }) => clock.ofStored(since) > startedAt);
}

async function failuresCountedOf({ sql }: Environment, { organizationId }: Run): Promise<string[]> {
  const { rows } = await sql.query<{ id: string }>(
    `select recharge_id as id from card_attempt where organization_id = $1 and outcome is not null and outcome <> 'succeeded'`,
    [organizationId],
  );
  return rows.map(({ id }) => id);
}

async function toldOf({ sql }: Environment, { organizationId }: Run, holds: HoldFact[]): Promise<string[]> {
  const { rows } = await sql.query<{ key: string }>(
    `select key from outbound_event where organization_id = $1 or split_part(key, '/', 2) = any ($2) and key like 'hold/%'`,
    [organizationId, holds.map(({ id }) => id)],
  );
  return rows.map(({ key }) => key);
}

type KmsState = {
  teams: Record<string, { max_budget: number | null; spend: number; budget_writes: BudgetWrite[] }>;
  requests: { method: string; path: string; query: string; status: number; body: string }[];
};

async function kmsOf({ litellmServer }: Environment, { teamId }: Run): Promise<Pick<Facts, 'team' | 'kmsRequests'>> {
  const { data: state } = await axios.get<KmsState>(`${litellmServer.url}/_sandbox/state`);
  const team = state.teams[teamId];
  return {
    team: team && { max_budget: team.max_budget, spend: team.spend, budgetWrites: team.budget_writes },
    kmsRequests: state.requests
      .filter(({ query, body }) => `${query} ${body}`.includes(teamId))
      .map(({ method, path, status, body }) => ({ server: 'LiteLLM', method, path, status, detail: body })),
  };
}

/** What Stripe was asked about the run, in order. */
export async function stripeRequests(
  { stripeServer }: Environment,
  { customerId }: Run,
  { recharges, intents }: Facts,
): Promise<Request[]> {
  type Logged = { method: string; path: string; status: number; idempotency_key: string | null; replayed: boolean };
  const { data: state } = await axios.get<{ requests: Logged[] }>(`${stripeServer.url}/_sandbox/state`);
  const ours = [customerId, ...recharges.map(({ id }) => id), ...intents.map(({ id }) => id)];
  return state.requests
    .filter(({ path, idempotency_key: key }) => ours.some((id) => `${path} ${key}`.includes(id)))
    .map(({ method, path, status, idempotency_key: key, replayed }) => ({
      server: 'Stripe',
      method,
      path,
      status,
      detail: [key, replayed && 'replayed'].filter(Boolean).join(' '),
    }));
}

/**
 * How long a workflow may take to end after its event is closed: its worker may have been killed just then,
 * and on a machine that is busy with something else a workflow task may miss its ten seconds a few times.
 */
const END_MS = 240_000;
const END_POLL_MS = 200;

async function runningOf({ temporal }: Environment, { organizationId }: Run, events: EventFact[]): Promise<string[]> {
  const started = events.filter(({ duplicateOf, outcome }) => !duplicateOf && outcome !== 'duplicate');
  const deadline = Date.now() + END_MS;
  const stillRunning = async ({ id }: EventFact): Promise<string | undefined> => {
    const handle = temporal.workflow.getHandle(rechargeWorkflowId({ organizationId, eventId: id }));
    for (;;) {
      // Temporal may be unavailable.
      const seen = await handle.describe().catch((error: Error) => error);
      if (!(seen instanceof Error) && seen.status.name !== 'RUNNING') return undefined;
      if (Date.now() > deadline) return `${handle.workflowId}, ${seen instanceof Error ? seen.message : pendingIn(seen)}`;
      await new Promise((resolve) => setTimeout(resolve, END_POLL_MS));
    }
  };
  return (await Promise.all(started.map(stillRunning))).filter((running) => running !== undefined);
}

function pendingIn({ raw }: WorkflowExecutionDescription): string {
  const activities = (raw.pendingActivities ?? []).map(
    ({ activityType, attempt, lastFailure }) =>
      `in ${activityType?.name}, attempt ${attempt}${lastFailure ? `: ${lastFailure.message}` : ''}`,
  );
  return activities.join(', ') || `waiting, with ${raw.pendingWorkflowTask ? 'a' : 'no'} workflow task pending`;
}
