/**
 * The tables as MikroORM maps them. What they must never allow is in the migrations: constraints, partial
 * indexes, triggers.
 */
import { type InferEntity, p, Type } from '@mikro-orm/core';
import { defineEntity } from '@mikro-orm/postgresql';
import type { EventOutcome } from '../domain/event-outcome.ts';
import { HOLD_REASONS, HOLD_SCOPES } from '../domain/hold.ts';
import { LEDGER_ACCOUNTS, TRANSFER_KINDS } from '../domain/ledger.ts';
import { type Currency, formatQuotaOrNull, type MinorUnits, parseQuota, type QuotaMicros } from '../domain/money.ts';
import type { OutboundType } from '../domain/outbound-event.ts';
import { RECHARGE_SOURCES } from '../domain/recharge-source.ts';
import { RECHARGE_STATUSES, type RechargeStatus } from '../domain/recharge-status.ts';
import { REVERSAL_KINDS, REVERSAL_STATUSES } from '../domain/reversal.ts';
import { type DriftAction, type DriftKind, SYNC_OUTCOMES, SYNC_STATUSES, type SyncCounts } from '../domain/sync.ts';

/**
 * Dollars of quota as numeric(18,6) in a column that a person may read; integer micro-dollars in the program.
 */
class QuotaColumn extends Type<QuotaMicros | null, string | null> {
  override convertToDatabaseValue(value: QuotaMicros | null): string | null {
    return formatQuotaOrNull(value);
  }
  override convertToJSValue(value: string | null): QuotaMicros | null {
    return value === null || value === undefined ? null : parseQuota(String(value));
  }
  override getColumnType(): string {
    return 'numeric(18,6)';
  }
}
const quotaColumn = () => p.type(QuotaColumn).$type<QuotaMicros>();
const minorUnitsColumn = () => p.bigint('number').$type<MinorUnits>();
const currencyColumn = () => p.string().length(3).$type<Currency>();

export const Organization = defineEntity({
  name: 'Organization',
  tableName: 'organization_balance_config',
  properties: {
    id: p.string().primary().fieldName('c_organization_id'),
    name: p.string(),
    stripeCustomerId: p.string(),
    litellmTeamId: p.string().fieldName('litellm_team_id').unique(),
    currency: currencyColumn(),
    minimumBalance: quotaColumn(),
    targetBalance: quotaColumn(),
    /** Quota that one unit of the currency buys. */
    quotaPerUnit: quotaColumn(),
    autoRechargeEnabled: p.boolean(),
    maxDailyRecharges: p.integer(),
    // In minor units of the currency; null: the default, see domain/limits.
    maxCharge: minorUnitsColumn().nullable(),
    maxDailyAmount: minorUnitsColumn().nullable(),
    maxMonthlyAmount: minorUnitsColumn().nullable(),
    /** IANA name; the days and months of the limits begin at its midnight. */
    timeZone: p.string(),
    /** Whether LiteLLM refuses the team whatever its balance. A hold only ends the charging. */
    blocked: p.boolean().default(false),
    /** Whether the team was asked for: LiteLLM gets it when it has never had it. */
    createTeam: p.boolean().default(false),
    /** When LiteLLM was last seen to have the team. null: never; one that is gone is not created. */
    litellmSeenAt: p.datetime().nullable(),
    /** Advanced by every recharge that is settled: a balance read before that is stale. */
    version: p.integer().default(0),
    /** When its balance was first seen at or below the minimum, since it was last above. */
    lowSince: p.datetime().nullable(),
    /** The recharge or reversal that is changing the team's budget: LiteLLM has no increment, so one. */
    budgetWriter: p.string().nullable(),
    createdAt: p.datetime().defaultRaw('now()'),
    updatedAt: p.datetime().defaultRaw('now()'),
  },
});
export type Organization = InferEntity<typeof Organization>;

/** A team of an organization: one user in LiteLLM, and a member of the organization's team there. */
export const Team = defineEntity({
  name: 'Team',
  tableName: 'team',
  properties: {
    organizationId: p.string().primary().fieldName('c_organization_id'),
    id: p.string().primary().fieldName('c_team_id'),
    litellmUserId: p.string().fieldName('l_user_id').unique(),
    name: p.string(),
    /** How much of the organization's quota it may spend; null: all of it. */
    maxBudgetInTeam: quotaColumn().nullable(),
    createdAt: p.datetime().defaultRaw('now()'),
    updatedAt: p.datetime().defaultRaw('now()'),
    /** When LiteLLM was last seen to have what this row says. null: not since its last change. */
    syncedAt: p.datetime().nullable(),
    /** When its removal was requested. The row is deleted when LiteLLM has neither member nor user. */
    removedAt: p.datetime().nullable(),
  },
});
export type Team = InferEntity<typeof Team>;

/** A key of a team: everything but its secret. */
export const TeamKey = defineEntity({
  name: 'TeamKey',
  tableName: 'team_key',
  properties: {
    id: p.string().primary(),
    organizationId: p.string().fieldName('c_organization_id'),
    teamId: p.string().fieldName('c_team_id'),
    /** The secret's SHA-256, by which LiteLLM knows the key. */
    token: p.string().unique(),
    /** In LiteLLM, where no two keys share one. */
    alias: p.string(),
    createdAt: p.datetime().defaultRaw('now()'),
    /** When LiteLLM was seen to have it. null: it is being created, or that was given up. */
    issuedAt: p.datetime().nullable(),
    /** When its deletion was requested, and when LiteLLM was seen to be without it. */
    revokedAt: p.datetime().nullable(),
    deletedAt: p.datetime().nullable(),
  },
});
export type TeamKey = InferEntity<typeof TeamKey>;

export const WebhookEvent = defineEntity({
  name: 'WebhookEvent',
  tableName: 'webhook_event',
  properties: {
    id: p.string().primary(),
    source: p.enum(RECHARGE_SOURCES),
    eventType: p.string(),
    teamId: p.text().nullable(),
    organizationId: p.string().nullable(),
    payload: p.json<Record<string, unknown>>(),
    /** The sender's permanent idempotency key, where it has one. */
    deliveryId: p.string().nullable().unique(),
    bodySha256: p.string(),
    /** Digest of team, event and budget; see domain/crossing. */
    crossing: p.string().nullable(),
    /** Of a copy that an earlier version has stored. A copy gets no row now: it is counted here, on what it repeats. */
    duplicateOf: p.string().nullable(),
    copies: p.integer(),
    lastCopyAt: p.datetime().nullable(),
    /** The highest spend, in dollars, that the alert or a copy of it reports. */
    highestSpend: p.string().columnType('numeric').nullable(),
    /** Of the request or the sweep that it came with, where that was traced; see domain/trace. */
    traceparent: p.text().nullable(),
    processed: p.boolean(),
    success: p.boolean().nullable(),
    outcome: p.string().$type<EventOutcome>().nullable(),
    receivedAt: p.datetime(),
    /** The dispatcher that claimed the event has until then to start its workflow. */
    claimedUntil: p.datetime().nullable(),
    dispatchAttempts: p.integer(),
    dispatchedAt: p.datetime().nullable(),
    processedAt: p.datetime().nullable(),
  },
});
export type WebhookEvent = InferEntity<typeof WebhookEvent>;

/** One step in the life of a recharge: when it reached a status, and the facts of that moment. */
export type TimelineStep = { at: string; status: RechargeStatus; [fact: string]: string | number | null };

export const Recharge = defineEntity({
  name: 'Recharge',
  tableName: 'recharge',
  properties: {
    id: p.string().primary(),
    eventId: p.string().unique(),
    organizationId: p.string(),
    litellmTeamId: p.string(),
    source: p.enum(RECHARGE_SOURCES),
    status: p.enum(RECHARGE_STATUSES),
    // Frozen when reserved: settings edited later do not change what is charged or granted.
    stripeCustomerId: p.string(),
    amountMinor: minorUnitsColumn(),
    currency: currencyColumn(),
    quotaGranted: quotaColumn(),
    balanceSeen: quotaColumn(),
    /** The card that was chosen; see domain/card. */
    paymentMethodId: p.string().nullable(),
    cardFingerprint: p.string().nullable(),
    cardExpiry: p.string().nullable(),
    paymentIntentId: p.string().nullable().unique(),
    /** How many idempotency keys Stripe has a saved 500 for; part of the next keys. */
    keysSpent: p.integer(),
    // The team's budget when this was decided, and the one to write: an absolute value, so every retry writes
    // the same.
    quotaBefore: quotaColumn().nullable(),
    quotaAfter: quotaColumn().nullable(),
    /** Until then a write of `quotaAfter` may take effect. null: there is none, or its outcome was seen. */
    writeUntil: p.datetime().nullable(),
    refundId: p.string().nullable(),
    failureCode: p.string().nullable(),
    declineCode: p.string().nullable(),
    adviceCode: p.string().nullable(),
    failureMessage: p.text().nullable(),
    timeline: p.json<TimelineStep[]>(),
    createdAt: p.datetime(),
    updatedAt: p.datetime(),
  },
});
export type Recharge = InferEntity<typeof Recharge>;

/** What stops charges; see domain/hold. */
export const Hold = defineEntity({
  name: 'Hold',
  tableName: 'hold',
  properties: {
    id: p.string().primary(),
    scope: p.enum(HOLD_SCOPES),
    /** The organization's id, or the card as domain/card names it. Of the service: empty, or whose key it is. */
    subject: p.text(),
    reason: p.enum(HOLD_REASONS),
    detail: p.text(),
    /** A person, a recharge, or what has found it. */
    openedBy: p.text(),
    /** Whose it is, or whose charge has opened it. null: the service's own. */
    organizationId: p.string().nullable(),
    /** The payment method's id at Stripe with which the organization has met it. */
    cardId: p.string().nullable(),
    /** Of a runaway: what would have been charged, in minor units. */
    amountMinor: minorUnitsColumn().nullable(),
    /** Of a lowered budget: what LiteLLM showed. */
    quota: quotaColumn().nullable(),
    since: p.datetime(),
    /** When it ends by itself. */
    until: p.datetime().nullable(),
    releasedAt: p.datetime().nullable(),
    releasedBy: p.text().nullable(),
    releaseReason: p.text().nullable(),
  },
});
export type Hold = InferEntity<typeof Hold>;

/** Money of a granted recharge that went back without us: a refund made elsewhere, or a dispute. */
export const Reversal = defineEntity({
  name: 'Reversal',
  tableName: 'reversal',
  properties: {
    /** Stripe's id of the refund or dispute, and from the second time on that its money goes: `du_1.2`. */
    id: p.string().primary(),
    kind: p.enum(REVERSAL_KINDS),
    rechargeId: p.string(),
    organizationId: p.string(),
    litellmTeamId: p.string(),
    status: p.enum(REVERSAL_STATUSES),
    amountMinor: minorUnitsColumn(),
    currency: currencyColumn(),
    quota: quotaColumn(),
    // The budget around the write that takes the quota back, and around the one that gives it back.
    takenBefore: quotaColumn().nullable(),
    takenAfter: quotaColumn().nullable(),
    givenBefore: quotaColumn().nullable(),
    givenAfter: quotaColumn().nullable(),
    /** Why the money went, in Stripe's word. */
    reason: p.text().nullable(),
    /** Why a person has to decide. */
    failureMessage: p.text().nullable(),
    createdAt: p.datetime(),
    updatedAt: p.datetime(),
  },
});
export type Reversal = InferEntity<typeof Reversal>;

/**
 * One of Stripe's events: only what it is about. The facts are read from Stripe, since events come late,
 * twice and in any order.
 */
export const StripeEvent = defineEntity({
  name: 'StripeEvent',
  tableName: 'stripe_event',
  properties: {
    id: p.string().primary(),
    type: p.string(),
    objectId: p.string(),
    paymentIntentId: p.string().nullable(),
    chargeId: p.string().nullable(),
    customerId: p.string().nullable(),
    receivedAt: p.datetime(),
    claimedUntil: p.datetime().nullable(),
    dispatchAttempts: p.integer(),
    handledAt: p.datetime().nullable(),
    /** It did not hold what it is about. */
    isIgnored: p.boolean(),
  },
});
export type StripeEvent = InferEntity<typeof StripeEvent>;

export const LedgerTransfer = defineEntity({
  name: 'LedgerTransfer',
  tableName: 'ledger_transfer',
  properties: {
    id: p.string().primary(),
    organizationId: p.string(),
    rechargeId: p.string(),
    kind: p.enum(TRANSFER_KINDS),
    /**
     * The reversal, or our own refund, that the transfer belongs to; empty for a transfer of the recharge
     * itself.
     */
    reference: p.string(),
    debitAccount: p.enum(LEDGER_ACCOUNTS),
    creditAccount: p.enum(LEDGER_ACCOUNTS),
    amountMinor: minorUnitsColumn(),
    currency: currencyColumn(),
    quotaMicros: p.bigint('number').$type<QuotaMicros>(),
    createdAt: p.datetime(),
    /** From 1 on, without a gap, for each organization. */
    sequence: p.integer(),
    /** Of the transfer before it; empty for the first. */
    previousHash: p.string(),
    hash: p.string(),
  },
});
export type LedgerTransfer = InferEntity<typeof LedgerTransfer>;

/** One run of the synchronisation with LiteLLM. */
export const SyncRun = defineEntity({
  name: 'SyncRun',
  tableName: 'sync_run',
  properties: {
    id: p.string().primary(),
    /** Temporal's workflow and run, for a run that Temporal started by itself. */
    workflow: p.string().nullable().unique(),
    dryRun: p.boolean(),
    /** null: all of them. */
    organizationIds: p.json<string[]>().nullable(),
    status: p.enum(SYNC_STATUSES),
    counts: p.json<SyncCounts>(),
    failureMessage: p.text().nullable(),
    startedAt: p.datetime(),
    finishedAt: p.datetime().nullable(),
  },
});
export type SyncRun = InferEntity<typeof SyncRun>;

/** A difference that a run found, and its outcome. */
export const SyncItem = defineEntity({
  name: 'SyncItem',
  tableName: 'sync_item',
  properties: {
    runId: p.string().primary(),
    kind: p.string().primary().$type<DriftKind>(),
    subject: p.text().primary(),
    organizationId: p.string().nullable(),
    ours: p.text().nullable(),
    theirs: p.text().nullable(),
    action: p.string().$type<DriftAction>().nullable(),
    outcome: p.enum(SYNC_OUTCOMES),
    reason: p.text().nullable(),
    at: p.datetime(),
  },
});
export type SyncItem = InferEntity<typeof SyncItem>;

/** Something that is told; see domain/outbound-event. */
export const OutboundEvent = defineEntity({
  name: 'OutboundEvent',
  tableName: 'outbound_event',
  properties: {
    id: p.string().primary(),
    type: p.string().$type<OutboundType>(),
    organizationId: p.string().nullable(),
    /** What is told once: unique for ever. */
    key: p.string().unique(),
    data: p.json<Record<string, unknown>>(),
    createdAt: p.datetime(),
    /** When its deliveries were entered. null: no dispatcher has come to it yet. */
    routedAt: p.datetime().nullable(),
  },
});
export type OutboundEvent = InferEntity<typeof OutboundEvent>;

/** Where outbound events go. */
export const OutboundEndpoint = defineEntity({
  name: 'OutboundEndpoint',
  tableName: 'outbound_endpoint',
  properties: {
    id: p.string().primary(),
    url: p.text(),
    /** Signs what is posted. null: the one of NOTIFY_WEBHOOK_SECRET. */
    secret: p.text().nullable(),
    /** null: every type. */
    types: p.array().$type<OutboundType[]>().nullable(),
    /** The first of the failures since something was last delivered to it. */
    failingSince: p.datetime().nullable(),
    disabledAt: p.datetime().nullable(),
    disabledReason: p.text().nullable(),
    createdAt: p.datetime().defaultRaw('now()'),
  },
});
export type OutboundEndpoint = InferEntity<typeof OutboundEndpoint>;

/** One attempt to deliver. `status`: the receiver's answer, null where there was none. */
export type DeliveryAttempt = { at: string; status: number | null; error: string | null; took_ms: number };

/** One event for one endpoint. */
export const OutboundDelivery = defineEntity({
  name: 'OutboundDelivery',
  tableName: 'outbound_delivery',
  properties: {
    id: p.string().primary(),
    eventId: p.string(),
    endpointId: p.string(),
    /** Since it was routed, or sent again by a person. */
    attempts: p.integer(),
    /** A failure after this is the last. */
    retryUntil: p.datetime(),
    dueAt: p.datetime(),
    claimedUntil: p.datetime().nullable(),
    deliveredAt: p.datetime().nullable(),
    givenUpAt: p.datetime().nullable(),
    lastStatus: p.integer().nullable(),
    lastError: p.text().nullable(),
    /** The last attempts, oldest first. */
    log: p.json<DeliveryAttempt[]>(),
  },
});
export type OutboundDelivery = InferEntity<typeof OutboundDelivery>;

export const entities = [
  Organization,
  Team,
  TeamKey,
  WebhookEvent,
  Recharge,
  LedgerTransfer,
  Reversal,
  StripeEvent,
  SyncRun,
  SyncItem,
  Hold,
  OutboundEvent,
  OutboundEndpoint,
  OutboundDelivery,
];
