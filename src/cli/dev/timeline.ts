/** The live timeline of `bill dev`: each step, as the database has it, a line at a time. */
import { styleText } from 'node:util';
import type { Database, EntityManager } from '../../database/database.ts';
import type { Hold, Recharge, TimelineStep, WebhookEvent } from '../../database/entities.ts';
import * as holds from '../../database/holds.ts';
import * as organizations from '../../database/organizations.ts';
import * as recharges from '../../database/recharges.ts';
import * as reversals from '../../database/reversals.ts';
import * as webhookEvents from '../../database/webhook-events.ts';
import { describeHold } from '../../domain/hold.ts';
import { isOfLimit } from '../../domain/limits.ts';
import { moneyText } from '../../domain/money.ts';
import { REFUSALS, type RechargePolicy, type Refusal } from '../../domain/policy.ts';
import { whyRefusedUnder } from '../../domain/settings-warnings.ts';
import type { WorkflowLinks } from '../../workflow-links.ts';
import { cents } from '../units.ts';
import { holdLines, reversalLines } from './return-lines.ts';

const READ_INTERVAL_MS = 200;
/** Rows are read again for this long, so that one that was committed late is not missed. */
const OVERLAP_MS = 5_000;
const MAX_ROWS = 500;

/** A step, and what is said of it. */
export type Line = { at: Date; organization: string; step: string; text: string };

/**
 * Prints every step of every recharge from now on, the money of it that goes back, and what stops charges.
 *
 * @param print one line for the terminal.
 */
export function startTimeline(database: Database, links: WorkflowLinks, print: (line: string) => void): { stop: () => Promise<void> } {
  const seen = new Map<string, number>();
  const events = new Map<string, WebhookEvent>();
  const begun = new Date();
  let since = begun;
  let stopped = false;

  const printNew = async () => {
    const em = database.fork();
    const from = new Date(since.getTime() - OVERLAP_MS);
    const started = new Date();
    for (const event of await webhookEvents.changedSince(em, from, MAX_ROWS)) {
      if (event.receivedAt < begun) seen.set(event.id, 1);
      events.set(event.id, event);
      if (!seen.has(event.id)) {
        seen.set(event.id, 1);
        print(format(alertLine(event)));
      }
      if (!seen.has(`${event.id} closed`)) {
        const closing = closingLine(event, await holdBehind(em, event), await policyBehind(em, event));
        if (!closing) continue;
        seen.set(`${event.id} closed`, 1);
        print(format(closing, event.receivedAt));
      }
    }
    for (const recharge of await recharges.changedSince(em, from, MAX_ROWS)) {
      const lines = linesOf(recharge);
      const alerted = events.get(recharge.eventId)?.receivedAt ?? recharge.createdAt;
      const known = seen.get(recharge.id) ?? lines.filter(({ at }) => at < begun).length;
      for (const line of lines.slice(known)) print(format(line, alerted));
      seen.set(recharge.id, lines.length);
      if (lines.length > known && recharge.timeline.at(-1)?.status !== 'charging') {
        const link = ENDS.has(recharge.status) && links.recharge(recharge);
        if (link) print(`${' '.repeat(10)}${styleText('dim', link)}`);
      }
    }
    const changed = [
      ...(await reversals.changedSince(em, from, MAX_ROWS)).flatMap(reversalLines),
      ...(await holds.changedSince(em, from, MAX_ROWS)).flatMap(holdLines),
    ];
    for (const { key, ...line } of changed.toSorted((a, b) => a.at.getTime() - b.at.getTime())) {
      if (line.at < begun || seen.has(key)) continue;
      seen.set(key, 1);
      print(format(line));
    }
    since = started;
  };

  const printing = (async () => {
    while (!stopped) {
      await printNew().catch(() => {}); // The database may be restarting; the service logs it.
      await new Promise((resolve) => setTimeout(resolve, READ_INTERVAL_MS));
    }
  })();
  return {
    stop: async () => {
      stopped = true;
      await printing;
    },
  };
}

const ENDS: ReadonlySet<Recharge['status']> = new Set([
  'succeeded',
  'refunded',
  'declined',
  'action_required',
  'needs_attention',
  'cancelled',
]);

function alertLine(event: WebhookEvent): Line {
  const { spend, max_budget: budget } = event.payload;
  const figures = typeof spend === 'number' && typeof budget === 'number' ? `: ${spend.toFixed(2)} spent of ${budget.toFixed(2)}` : '';
  return {
    at: event.receivedAt,
    organization: event.organizationId ?? event.teamId ?? '?',
    step: event.source === 'sweep' ? 'sweep' : 'alert',
    text: `${event.eventType}${figures}`,
  };
}

/** The hold by which an event was refused; null for any other event. */
async function holdBehind(em: EntityManager, { outcome, processedAt, organizationId }: WebhookEvent): Promise<Hold | null> {
  return outcome === 'held' && processedAt && organizationId ? holds.appliedAt(em, organizationId, processedAt) : null;
}

/** The settings by which a limit may have refused an event; null for any other event. */
async function policyBehind(em: EntityManager, { outcome, organizationId }: WebhookEvent): Promise<RechargePolicy | null> {
  const organization = outcome && isOfLimit(outcome) && organizationId ? await organizations.find(em, organizationId) : null;
  return organization && organizations.policyOf(organization);
}

/**
 * The end of an event that has led to no recharge; a recharge has its own lines.
 *
 * @param hold by which it was refused.
 * @param policy by whose limits it was refused.
 */
export function closingLine(
  { outcome, processedAt, organizationId, teamId }: WebhookEvent,
  hold: Hold | null,
  policy: RechargePolicy | null,
): Line | undefined {
  if (!outcome || !processedAt || !(outcome in REFUSALS || outcome === 'unknown_team')) return undefined;
  const refusal = outcome as Exclude<Refusal, 'held'>;
  const ofRefusal = () => (policy ? whyRefusedUnder(policy, { kind: 'refuse', refusal, balance: null }) : REFUSALS[refusal]);
  const reason = outcome === 'unknown_team' ? 'no organization has this team' : ofRefusal();
  const text = hold ? describeHold({ ...hold, until: hold.until ?? null }) : `${outcome}: ${reason}`;
  return { at: processedAt, organization: organizationId ?? teamId ?? '?', step: 'limits', text };
}

/** Every line of a recharge so far, in order. */
export function linesOf(recharge: Recharge): Line[] {
  return recharge.timeline.flatMap((step) => stepLines(recharge, step).map((line) => ({ organization: recharge.organizationId, ...line })));
}

function stepLines(recharge: Recharge, step: TimelineStep): Omit<Line, 'organization'>[] {
  const amount = moneyText(recharge.amountMinor, recharge.currency);
  const at = new Date(step.at);
  // A person's decision has none of the facts that a run's step to the same status has.
  if (step['resolution']) {
    const about = step['reversal'] ? `${step['reversal']}: ` : '';
    return [{ at, step: 'resolved', text: `${about}${step['resolution']} by ${step['by']}: ${step['reason']}` }];
  }
  switch (step.status) {
    case 'reserved':
      return [{ at, step: 'limits', text: `balance ${cents(recharge.balanceSeen)}, so charge ${amount}` }];
    case 'charging':
      // Else the outcome follows.
      return step['restored']
        ? [{ at, step: 'restored', text: `${amount} by ${recharge.paymentIntentId}, which the database had lost` }]
        : [];
    case 'charged': {
      const recorded = { at, step: 'recorded', text: `ledger: stripe → prepaid ${amount}` };
      const capturedAt = new Date(String(step['captured_at']));
      if (Number.isNaN(capturedAt.getTime())) return [recorded];
      return [{ at: capturedAt, step: 'charged', text: `${amount} by ${recharge.paymentIntentId}` }, recorded];
    }
    case 'succeeded':
      return [{ at, step: 'quota', text: `raised from ${cents(recharge.quotaBefore)} to ${cents(recharge.quotaAfter)}` }];
    case 'declined':
    case 'action_required':
      return [{ at, step: step.status, text: `${amount}: ${recharge.failureMessage ?? 'refused'} (${step['code'] ?? 'no code'})` }];
    default:
      return [{ at, step: step.status, text: [amount, step['reason']].filter(Boolean).join(': ') }];
  }
}

const COLOURS = {
  alert: 'yellow',
  sweep: 'yellow',
  charged: 'cyan',
  quota: 'green',
  declined: 'red',
  action_required: 'red',
  needs_attention: 'red',
  refunding: 'magenta',
  resolved: 'cyan',
  refund: 'magenta',
  dispute: 'magenta',
  held: 'red',
} as const;

/** @param alerted when the alert came: durations count from it. */
export function format({ at, organization, step, text }: Line, alerted?: Date): string {
  const took = alerted ? `+${((at.getTime() - alerted.getTime()) / 1000).toFixed(2)} s` : '';
  const colour = COLOURS[step as keyof typeof COLOURS] ?? 'white';
  return `${clock(at)}  ${organization.padEnd(10)} ${styleText(colour, step.padEnd(10))} ${took.padStart(8)}  ${text}`;
}

/** Local time to the second. */
export function clock(at: Date): string {
  return at.toTimeString().slice(0, 8);
}
