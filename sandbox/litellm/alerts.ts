/**
 * LiteLLM's native budget webhook for teams (`SlackAlerting.budget_alerts`): one unsigned POST, no queue, no
 * retry. An alert that got a 2xx is not repeated for a while; one that did not is sent again by the next
 * refused request.
 */
import { pyFloat } from './python.ts';
import type { Settings } from './settings.ts';
import { type Key, now, type Team } from './store.ts';

/**
 * One delivery, as `GET /_sandbox/state` shows it; `status` is null while it is under way and for no answer
 * at all.
 */
export type Alert = { at: string; url: string; body: AlertBody; status: number | null; error: string | null };

export type AlertBody = {
  spend: number;
  max_budget: number;
  soft_budget: null;
  token: string;
  customer_id: null;
  user_id: string | null;
  team_id: string;
  team_alias: string | null;
  organization_id: string | null;
  user_email: null;
  key_alias: null;
  projected_exceeded_date: null;
  projected_spend: null;
  event_group: 'team';
  alert_emails: null;
  max_budget_alert_emails: null;
  event: 'budget_crossed';
  event_message: string;
};

/** Deliveries remembered, the newest last. */
const MAX_ALERTS = 1000;

/**
 * Marks of teams whose alert is silenced; beyond it the oldest is forgotten, and that team may send a second
 * one.
 */
const MAX_MARKS = 100_000;

/**
 * Deliveries under way; a webhook that never answers must not fill the memory. The real one has no such
 * bound.
 */
const MAX_IN_FLIGHT = 500;

/** LiteLLM's read timeout on the webhook. */
const TIMEOUT_MS = 600_000;

export class BudgetAlerts {
  /** Turned off by `POST /_sandbox/alerts`, nothing is sent or marked: an installation without alerting. */
  enabled = true;
  readonly sent: Alert[] = [];
  /**
   * `budget_alerts:{event}:{team_id}` → when the silence ends, in milliseconds since the epoch. In memory, as
   * without Redis.
   */
  private readonly silencedUntil = new Map<string, number>();
  private inFlight = 0;
  private readonly stopped = new AbortController();
  private readonly settings: Settings;

  constructor(settings: Settings) {
    this.settings = settings;
  }

  /**
   * Called for every refused request of a team over its budget; returns at once, deliveries go on in the
   * background.
   */
  budgetCrossed(team: Team, key: Key, spend: number, max_budget: number): void {
    const { webhook_url, alert_copies, call_cost } = this.settings;
    if (!this.enabled || webhook_url === null) return;
    const mark = `budget_alerts:budget_crossed:${team.team_id}`;
    if ((this.silencedUntil.get(mark) ?? 0) > Date.now()) return;
    for (let copy = 0; copy < alert_copies && this.inFlight < MAX_IN_FLIGHT; copy++) {
      // Each worker process has counted a few calls that the others have not.
      void this.deliver(webhook_url, mark, alertBody(team, key, spend + copy * call_cost, max_budget));
    }
  }

  /** Ends every silence. */
  forget(): void {
    this.silencedUntil.clear();
  }

  stop(): void {
    this.stopped.abort();
  }

  private async deliver(url: string, mark: string, body: AlertBody): Promise<void> {
    const alert: Alert = { at: now(), url, body, status: null, error: null };
    this.sent.push(alert);
    if (this.sent.length > MAX_ALERTS) this.sent.shift();
    this.inFlight++;
    try {
      // fetch follows redirects as httpx does: a 307 posts again, a 302 becomes a GET without a body.
      const response = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'user-agent': `litellm/${this.settings.version}` },
        body: JSON.stringify(body),
        signal: AbortSignal.any([this.stopped.signal, AbortSignal.timeout(TIMEOUT_MS)]),
      });
      await response.body?.cancel();
      alert.status = response.status;
      if (response.ok) this.silence(mark);
    } catch (error) {
      alert.error = (error as Error).message;
    } finally {
      this.inFlight--;
    }
  }

  private silence(mark: string): void {
    this.silencedUntil.delete(mark);
    this.silencedUntil.set(mark, Date.now() + this.settings.alert_ttl_s * 1000);
    if (this.silencedUntil.size <= MAX_MARKS) return;
    for (const oldest of this.silencedUntil.keys()) {
      this.silencedUntil.delete(oldest);
      return;
    }
  }
}

function alertBody(team: Team, key: Key, spend: number, max_budget: number): AlertBody {
  return {
    spend,
    max_budget,
    soft_budget: null,
    token: key.token,
    customer_id: null,
    user_id: key.user_id,
    team_id: team.team_id,
    team_alias: team.team_alias,
    organization_id: team.organization_id,
    user_email: null,
    key_alias: null,
    projected_exceeded_date: null,
    projected_spend: null,
    event_group: 'team',
    alert_emails: null,
    max_budget_alert_emails: null,
    event: 'budget_crossed',
    event_message: `Team Budget: Budget Crossed\n Total Budget:\`${pyFloat(max_budget)}\``,
  };
}
