/** Looks at every balance that LiteLLM shows, and puts into the inbox what has run low or soon will, as an alert would. */
import { createHash } from 'node:crypto';
import * as balanceSamples from '../../src/database/balance-samples.ts';
import type { EntityManager } from '../../src/database/database.ts';
import type { Organization } from '../../src/database/entities.ts';
import * as organizations from '../../src/database/organizations.ts';
import { historiesOf } from '../../src/database/recharge-history.ts';
import * as webhookEvents from '../../src/database/webhook-events.ts';
import { isCoolingDown } from '../../src/domain/cool-down.ts';
import { SWEEP_EVENTS, type SweepEvent, sweepCrossing } from '../../src/domain/crossing.ts';
import { expectedSpend, FORECAST_HORIZON_MS, SPEND_WINDOW_MS } from '../../src/domain/forecast.ts';
import { dollarsFromQuota, formatQuota, type QuotaMicros, quotaMicros } from '../../src/domain/money.ts';
import { decideRecharge, type LiveBudget } from '../../src/domain/policy.ts';
import { MAX_PAGE_SIZE, type TeamsPage } from '../../src/kms/client.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import { readTeamPages } from '../team-pages.ts';
import type { SweepPart, TeamsCursor } from '../types.ts';

/** Old samples that each page takes away: twice what it can add. */
const FORGOTTEN_A_PAGE = 2 * MAX_PAGE_SIZE;

/** Looks at some pages of LiteLLM's teams and reports those of ours that need a recharge. Repeatable: an open event is not reported again. */
export function sweepTeams({ database, kms, log }: Pick<ActivityDependencies, 'database' | 'kms' | 'log'>) {
  return async (cursor: TeamsCursor): Promise<SweepPart> => {
    const found: Looked = { organizations: 0, waiting: 0, reported: [] };
    const part = await readTeamPages({ kms, log }, cursor, async (teams) => {
      const looked = await lookAt(database.fork(), teams);
      found.organizations += looked.organizations;
      found.waiting += looked.waiting;
      found.reported.push(...looked.reported);
    });
    return { ...part, ...found };
  };
}

type Looked = Pick<SweepPart, 'organizations' | 'waiting' | 'reported'>;

async function lookAt(em: EntityManager, teams: TeamsPage['teams']): Promise<Looked> {
  const looked: Looked = { organizations: 0, waiting: 0, reported: [] };
  const budgets = new Map(teams.map((team) => [team.teamId, team]));
  const ours = await organizations.ofLitellmTeams(em, [...budgets.keys()]);
  if (ours.length === 0) return looked;
  looked.organizations = ours.length;

  const ids = ours.map(({ id }) => id);
  const samples = await balanceSamples.recent(em, ids, SPEND_WINDOW_MS);
  const histories = await historiesOf(em, ids);
  const standings = await webhookEvents.sweepStandings(em, ids);
  const seen: balanceSamples.BalanceSeen[] = [];
  for (const organization of ours) {
    const { id, litellmTeamId } = organization;
    const [team, history, standing] = [budgets.get(litellmTeamId), histories.get(id), standings.get(id)];
    // One that was removed while we read.
    if (!team || !history || !standing) continue;
    seen.push({ organizationId: id, quota: team.quota, spend: team.spend });
    // A blocked team spends nothing, whatever its budget.
    if (team.blocked || standing.hasOpenEvent) continue;

    const foresight = { expectedSpend: expectedSpend(samples.get(id) ?? [], team.spend) };
    const decision = decideRecharge(organizations.policyOf(organization), team, history, foresight);
    const isDue = decision.kind === 'recharge';
    if (decision.kind === 'refuse' && decision.refusal === 'cooling_down') looked.waiting++;
    else if (isDue && isCoolingDown(standing.fruitless)) looked.waiting++;
    else if (isDue) {
      const eventType = decision.balance <= organization.minimumBalance ? SWEEP_EVENTS.low : SWEEP_EVENTS.forecast;
      const event = eventOf(organization, team, eventType, foresight.expectedSpend);
      const { eventId, status } = await webhookEvents.receive(em, event);
      if (status === 'accepted') looked.reported.push({ organizationId: id, eventId, eventType, balance: formatQuota(decision.balance) });
    }
  }
  await balanceSamples.record(em, seen);
  await balanceSamples.deleteExpired(em, FORGOTTEN_A_PAGE);
  return looked;
}

/** The event in the words of LiteLLM's alert, with what the sweep knows beyond it. Nothing of it is decided on: the run looks itself. */
function eventOf(
  { litellmTeamId, minimumBalance }: Organization,
  { quota, spend }: LiveBudget,
  eventType: SweepEvent,
  expected: QuotaMicros,
): webhookEvents.IncomingEvent {
  const payload = {
    event: eventType,
    event_group: 'team',
    team_id: litellmTeamId,
    spend: dollarsFromQuota(spend),
    max_budget: quota === null ? null : dollarsFromQuota(quota),
    minimum_balance: formatQuota(minimumBalance),
    expected_spend: formatQuota(quotaMicros(expected)),
    expected_within_s: FORECAST_HORIZON_MS / 1000,
  };
  return {
    source: 'sweep',
    eventType,
    teamId: litellmTeamId,
    payload,
    bodySha256: createHash('sha256').update(JSON.stringify(payload)).digest('hex'),
    deliveryId: null,
    crossing: sweepCrossing(litellmTeamId, eventType).key,
  };
}
