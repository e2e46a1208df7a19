/**
 * Reads every balance that LiteLLM shows, and reports to the inbox what has run low or soon will, as an alert
 * would.
 */
import { createHash } from 'node:crypto';
import { Context } from '@temporalio/activity';
import * as balanceSamples from '../../src/database/balance-samples.ts';
import { readTime } from '../../src/database/clock.ts';
import type { EntityManager } from '../../src/database/database.ts';
import type { Organization } from '../../src/database/entities.ts';
import { isDatabaseOutage } from '../../src/database/errors.ts';
import * as lowBalances from '../../src/database/low-balances.ts';
import * as organizations from '../../src/database/organizations.ts';
import { historiesOf } from '../../src/database/recharge-history.ts';
import * as refusals from '../../src/database/refusals.ts';
import { tellUnknownTimeZones } from '../../src/database/time-zones.ts';
import * as webhookEvents from '../../src/database/webhook-events.ts';
import { type SweepEvent, sweepCrossing } from '../../src/domain/crossing.ts';
import { expectedSpend, FORECAST_HORIZON_MS, SPEND_WINDOW_MS } from '../../src/domain/forecast.ts';
import { dollarsFromQuota, formatQuota } from '../../src/domain/money.ts';
import { decideSweep, type SweepDecision, type SweepFacts } from '../../src/domain/sweep.ts';
import { KmsError } from '../../src/kms/errors.ts';
import type { KmsTeam } from '../../src/kms/rows.ts';
import { activeTraceparent } from '../../src/observability/tracing.ts';
import { sideBySide } from '../../src/teams/side-by-side.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import { readTeamPages } from '../team-pages.ts';
import type { SweepCounts, SweepCursor, SweepPart } from './types.ts';

/** More are looked up by the next sweep. */
const MISSED_LIMIT = 50;

/**
 * Reads some pages of LiteLLM's teams and reports those of ours that need a recharge; the last part also looks up those of
 * ours that no page has shown, and notes which are gone. Idempotent: an open event is not reported again.
 */
export function sweepTeams({ database, kms, log }: Pick<ActivityDependencies, 'database' | 'kms' | 'log'>) {
  return async (cursor: SweepCursor): Promise<SweepPart> => {
    const sweep = cursor.sweep ?? (cursor.page === 1 ? { since: await readTime(database.fork()) } : undefined);
    const found: Swept = { organizations: 0, waiting: 0, paused: [], unused: [], reported: [] };
    const handle = async (teams: readonly KmsTeam[]) => {
      const { organizations, waiting, paused, unused, reported } = await sweepPage({ database, log }, teams);
      found.organizations += organizations;
      found.waiting += waiting;
      found.paused.push(...paused);
      found.unused.push(...unused);
      found.reported.push(...reported);
    };
    const { next, ...part } = await readTeamPages({ kms, log }, cursor, handle);
    if (next === null && sweep) await handle(await missedTeams({ database, kms, log }, new Date(sweep.since)));
    return { ...part, ...found, next: next && { ...next, ...(sweep && { sweep }) } };
  };
}

/**
 * The teams of ours that no page has shown: one of a page that cannot be read, or that has left it out, because LiteLLM
 * pages by offset. Each is looked up by itself; those that are gone are noted.
 */
async function missedTeams(
  { database, kms, log }: Pick<ActivityDependencies, 'database' | 'kms' | 'log'>,
  since: Date,
): Promise<KmsTeam[]> {
  const missed = await organizations.missedSince(database.fork(), since, MISSED_LIMIT);
  const found: KmsTeam[] = [];
  const gone: string[] = [];
  const look = async ({ id, litellmTeamId }: Organization) => {
    try {
      found.push(await kms.teamAlone(litellmTeamId));
    } catch (error) {
      if (!(error instanceof KmsError)) throw error;
      if (error.kind === 'not_found') gone.push(id);
      else log.warn({ organization: id, reason: error.message }, 'a team that no page has shown cannot be looked up');
    }
  };
  await sideBySide(missed, look, Context.current().cancellationSignal);
  for (const organization of gone) log.warn({ organization }, 'its team is gone from LiteLLM');
  await refusals.foresee(
    database.fork(),
    gone.map((id) => ({ id, reason: 'team_not_found' })),
  );
  return found;
}

type Swept = Required<Pick<SweepPart, 'organizations' | 'waiting' | 'paused' | 'unused' | 'reported'>>;
type Candidate = { organization: Organization; team: KmsTeam; facts: SweepFacts };
type Decided = Candidate & { decision: SweepDecision };
type ReportedBalance = SweepCounts['reported'][number];

async function sweepPage({ database, log }: Pick<ActivityDependencies, 'database' | 'log'>, teams: readonly KmsTeam[]): Promise<Swept> {
  const em = database.fork();
  const ours = await organizations.ofLitellmTeams(
    em,
    teams.map(({ teamId }) => teamId),
  );
  if (ours.length === 0) return { organizations: 0, waiting: 0, paused: [], unused: [], reported: [] };
  await refusals.forgetGone(
    em,
    ours.map(({ id }) => id),
  );
  await tellUnknownTimeZones(
    em,
    ours.map(({ id }) => id),
  );
  await markFirstSeen(em, ours);
  const candidates = await readCandidates(em, ours, teams);
  const decided: Decided[] = [];
  const reported: ReportedBalance[] = [];
  for (const candidate of candidates) {
    // What cannot be computed of one organization, or stored, is nothing about the others.
    try {
      const each = { ...candidate, decision: decideSweep(candidate.facts) };
      reported.push(...(await report(em, each)));
      decided.push(each);
    } catch (error) {
      if (isDatabaseOutage(error)) throw error;
      log.error({ organization: candidate.organization.id, reason: (error as Error).message }, 'one balance cannot be judged or reported');
    }
  }
  await recordSamples(em, candidates);
  // A blocked team spends nothing, whatever its balance.
  const spending = candidates.filter(({ team }) => !team.blocked);
  await lowBalances.note(
    em,
    spending.map(({ organization, team: budget }) => ({ organization, budget })),
  );
  await refusals.foresee(
    em,
    decided.flatMap(({ organization: { id }, decision }) => (decision.kind === 'refused' ? [{ id, reason: decision.refusal }] : [])),
  );
  const of = (kind: SweepDecision['kind']) =>
    decided.flatMap(({ organization, decision }) => (decision.kind === kind ? [organization.id] : []));
  const paused = of('wait');
  return { organizations: ours.length, waiting: paused.length, paused, unused: of('unused'), reported };
}

/** The synchronisation may come a quarter of an hour later, and a team that was deleted by then had a balance. */
async function markFirstSeen(em: EntityManager, ours: readonly Organization[]): Promise<void> {
  const teamIds = ours.flatMap(({ litellmSeenAt, litellmTeamId }) => (litellmSeenAt ? [] : [litellmTeamId]));
  if (teamIds.length > 0) await organizations.markSeen(em, teamIds);
}

/**
 * Each organization with its team and everything that is decided on. One that was removed meanwhile is left
 * out.
 */
async function readCandidates(em: EntityManager, ours: readonly Organization[], teams: readonly KmsTeam[]): Promise<Candidate[]> {
  const ids = ours.map(({ id }) => id);
  const samples = await balanceSamples.recent(em, ids, SPEND_WINDOW_MS);
  const histories = await historiesOf(em, ids);
  const standings = await webhookEvents.sweepStandings(em, ids);
  const asked = await webhookEvents.askedForQuota(
    em,
    ours.filter(({ createTeam }) => createTeam).map(({ id }) => id),
  );
  const shown = new Map(teams.map((team) => [team.teamId, team]));
  return ours.flatMap((organization) => {
    const { id, litellmTeamId, createTeam } = organization;
    const [team, history, standing] = [shown.get(litellmTeamId), histories.get(id), standings.get(id)];
    if (!team || !history || !standing) return [];
    const expected = expectedSpend(samples.get(id) ?? [], team.spend);
    const use = { expectedSpend: expected, createTeam, wasAskedFor: asked.has(id) };
    const facts = { policy: organizations.policyOf(organization), team, history, ...standing, ...use };
    return [{ organization, team, facts }];
  });
}

/**
 * Enters what is due into the inbox. Empty when nothing is due, or an event of the same crossing is open
 * already.
 */
async function report(em: EntityManager, { organization, facts, decision }: Decided): Promise<ReportedBalance[]> {
  if (decision.kind !== 'report') return [];
  const { eventType, balance } = decision;
  const { eventId, status } = await webhookEvents.receive(em, eventOf(organization, facts, eventType));
  return status === 'accepted' ? [{ organizationId: organization.id, eventId, eventType, balance: formatQuota(balance) }] : [];
}

async function recordSamples(em: EntityManager, candidates: readonly Candidate[]): Promise<void> {
  const seen = candidates.map(({ organization: { id: organizationId, litellmTeamId }, team: { quota, spend } }) => ({
    organizationId,
    litellmTeamId,
    quota,
    spend,
  }));
  await balanceSamples.record(em, seen);
}

/**
 * The event in the words of LiteLLM's alert, with what the sweep knows beyond it. Nothing is decided on it:
 * the run reads live figures.
 */
function eventOf(
  { litellmTeamId, minimumBalance }: Organization,
  { team: { quota, spend }, expectedSpend: expected }: SweepFacts,
  eventType: SweepEvent,
): webhookEvents.IncomingEvent {
  const payload = {
    event: eventType,
    event_group: 'team',
    team_id: litellmTeamId,
    spend: dollarsFromQuota(spend),
    max_budget: quota === null ? null : dollarsFromQuota(quota),
    minimum_balance: formatQuota(minimumBalance),
    expected_spend: formatQuota(expected),
    expected_within_s: FORECAST_HORIZON_MS / 1000,
  };
  return {
    traceparent: activeTraceparent(),
    source: 'sweep',
    eventType,
    teamId: litellmTeamId,
    payload,
    bodySha256: createHash('sha256').update(JSON.stringify(payload)).digest('hex'),
    deliveryId: null,
    crossing: sweepCrossing(litellmTeamId, eventType).key,
  };
}
