/** What is known of an organization, for the tests of how it stands. */
import { type OrganizationFacts, STATE_NAMES, type Standing, type StandingDrift } from '../../src/domain/status.ts';
import type { DriftKind } from '../../src/domain/sync.ts';

export const NOW = new Date('2026-11-26T12:00:00Z');
export const minutesAgo = (minutes: number) => new Date(NOW.getTime() - minutes * 60_000);

export const FINE: OrganizationFacts = {
  id: 'acme',
  stripeCustomerId: 'cus_acme',
  litellmTeamId: 'acme-team',
  isAutoRecharged: true,
  lowSince: null,
  sweepPause: null,
  settingsAt: minutesAgo(50),
  isBlocked: false,
  isTeamAwaited: false,
  isUnused: false,
  limitsOfNothing: [],
  limitsOfOneCharge: [],
  recharge: null,
  event: null,
  reversals: [],
  holds: [],
  refusals: [],
  limitsUsed: null,
  drifts: [],
  budgetExpected: null,
  gone: { left: null, lastBudget: null },
  nextDay: new Date('2026-11-26T23:00:00Z'),
  nextMonth: new Date('2026-11-30T23:00:00Z'),
};

/** As the terminal shows it: the state, why, and what is next. */
export function inWords({ state, since, why, next }: Standing): string {
  return [
    `${STATE_NAMES[state]}${since ? ` since ${since.toISOString().slice(11, 16)}` : ''}`,
    ...(why ? [why] : []),
    ...(next ? [`→ ${next}`] : []),
  ].join('\n');
}
export const recharge = (
  status: 'charging' | 'processing' | 'charged' | 'needs_attention',
  underWaySince: Date | null = minutesAgo(1),
) => ({
  id: 'rch_1',
  eventId: 'evt_1',
  status,
  since: minutesAgo(1),
  underWaySince,
  why: status === 'needs_attention' ? 'max_budget is 25.00, expected 10.00 or 30.50' : null,
  amount: '20.50 USD',
});
export const hold = (
  reason: 'declined' | 'disputed' | 'card_refused' | 'budget_lowered' | 'three_failures',
  until: Date | null = null,
) => ({
  id: 'hld_1',
  scope: 'organization' as const,
  reason,
  detail: 'dispute du_1 of recharge rch_1',
  since: minutesAgo(30),
  until,
  stops: null,
});

/** What a person may do about a recharge, below what is said of it. */
export const settled = (told: string) => `${told}
bill resolve rch_1 --grant "reason"     # raise the quota by what is held
bill resolve rch_1 --refund "reason"    # give back what is held
bill resolve rch_1 --accept "reason"    # it is right as it is`;
/** A call of LiteLLM that the words tell to make. */
export const litellm = (path: string, body: string) =>
  `curl "$KMS_BASE_URL${path}" -H "Authorization: Bearer $KMS_API_KEY" -H "Content-Type: application/json" -d '${body}'`;
export const restored = litellm('/team/update', '{"team_id":"acme-team","max_budget":30.5}');

export const drift = (kind: DriftKind, more: Partial<StandingDrift> = {}): StandingDrift => ({
  kind,
  subject: 'acme-team',
  ours: null,
  theirs: null,
  reason: null,
  hasFailed: false,
  at: minutesAgo(9),
  ...more,
});
export const edited = drift('budget_edited', { ours: '30.50', theirs: '31.00' });
