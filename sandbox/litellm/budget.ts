/**
 * Budget enforcement of LLM requests. It counts a team's spend live, while the database's `spend` follows at
 * the next flush, and it reads the team's budget from a cached copy, which `/team/update` refreshes and
 * `/team/block` does not.
 */
import type { BudgetAlerts } from './alerts.ts';
import { unauthorized } from './auth.ts';
import { proxyException } from './errors.ts';
import { pyFloat, pyRepr } from './python.ts';
import type { Settings } from './settings.ts';
import type { Key, Store, Team } from './store.ts';

/** How long enforcement uses its copy of a team (LiteLLM's in-memory cache TTL). */
const TEAM_CACHE_MS = 60_000;

/** A remainder at or below this is none (`_apply_over_budget_reservation_policy`). */
const NOTHING_LEFT = 1e-12;

type CachedTeam = { max_budget: number | null; blocked: boolean; until: number };

export class BudgetEnforcement {
  private readonly cache = new Map<string, CachedTeam>();
  private readonly unflushed = new Set<Team>();
  private flushTimer: NodeJS.Timeout | undefined;
  private readonly store: Store;
  private readonly settings: Settings;
  private readonly alerts: BudgetAlerts;
  private readonly flushed: () => void;

  /** @param flushed called after spend has moved to the database. */
  constructor(store: Store, settings: Settings, alerts: BudgetAlerts, flushed: () => void) {
    this.store = store;
    this.settings = settings;
    this.alerts = alerts;
    this.flushed = flushed;
  }

  /**
   * Lets a request of this key through or refuses it. A team strictly over its budget is alerted; one exactly
   * at it is refused by the reservation, which never alerts unless `call_reservation` is set; `max_budget` 0 reserves nothing, so its first
   * request passes.
   *
   * @throws 429 `budget_exceeded`, 401 for a blocked team, 404 for a key whose team was deleted.
   */
  admit(key: Key, cost: number): Team | undefined {
    const team = key.team_id === null ? undefined : this.store.teams.get(key.team_id);
    if (key.team_id !== null && !team) {
      const error = `Team doesn't exist in db. Team=${key.team_id}. Create team via \`/team/new\` call.`;
      throw proxyException(404, 'auth_error', pyRepr({ error }));
    }
    if (team) this.admitTeam(team, key, cost);
    if (key.max_budget !== null && key.spend >= key.max_budget) {
      throw exceeded(`Key=${key.key_alias ?? 'key'} (${key.key_name})`, key.spend, key.max_budget);
    }
    return team;
  }

  /** Counts what a request cost, in US dollars; the database shows it `spend_lag_ms` later at most. */
  charge(team: Team | undefined, key: Key, cost: number): void {
    key.spend += cost;
    if (!team) return;
    team.live_spend += cost;
    this.unflushed.add(team);
    if (this.settings.spend_lag_ms === 0) this.flush();
    else this.flushTimer ??= setTimeout(() => this.flush(), this.settings.spend_lag_ms);
  }

  /** Spend from elsewhere, counted and flushed at once. */
  addSpend(team: Team, amount: number): void {
    team.live_spend += amount;
    team.spend = team.live_spend;
    this.unflushed.delete(team);
  }

  flush(): void {
    clearTimeout(this.flushTimer);
    this.flushTimer = undefined;
    for (const team of this.unflushed) team.spend = team.live_spend;
    this.unflushed.clear();
    this.flushed();
  }

  /** Replaces enforcement's copy by the team as it is now. */
  refresh(team: Team): CachedTeam {
    const cached = { max_budget: team.max_budget, blocked: team.blocked, until: Date.now() + TEAM_CACHE_MS };
    this.cache.set(team.team_id, cached);
    return cached;
  }

  forget(team: Team): void {
    this.cache.delete(team.team_id);
    this.unflushed.delete(team);
  }

  private admitTeam(team: Team, key: Key, cost: number): void {
    const cached = this.cache.get(team.team_id);
    const { max_budget, blocked } = cached && cached.until > Date.now() ? cached : this.refresh(team);
    if (blocked) throw unauthorized(`Team=${team.team_id} is blocked. Update via \`/team/unblock\` if you're an admin.`);
    if (max_budget === null) return;
    const spend = team.live_spend;
    if (spend > max_budget) {
      this.alerts.budgetCrossed(team, key, spend, max_budget);
      throw exceeded(`Team=${team.team_id}`, spend, max_budget);
    }
    if (max_budget > 0 && max_budget - spend < this.settings.call_reservation) {
      this.alerts.budgetCrossed(team, key, max_budget, max_budget);
      throw exceeded(`Team=${team.team_id}`, max_budget, max_budget);
    }
    if (max_budget > 0 && cost > 0 && max_budget - spend <= NOTHING_LEFT) throw exceeded(`Team=${team.team_id}`, spend + cost, max_budget);
  }
}

function exceeded(entity: string, spend: number, max_budget: number) {
  const message = `Budget has been exceeded! ${entity} Current cost: ${pyFloat(spend)}, Max budget: ${pyFloat(max_budget)}`;
  return proxyException(429, 'budget_exceeded', message, null);
}
