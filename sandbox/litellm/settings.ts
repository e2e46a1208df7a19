/** How the stand-in behaves. */
import type { Version } from './version.ts';

export type Settings = {
  /** Which LiteLLM it answers like. */
  version: Version;
  /** The proxy admin key; it must start with `sk-`. */
  master_key: string;
  /** Where budget alerts are posted; null sends none. */
  webhook_url: string | null;
  /** How long the same alert is not repeated after a 2xx, in seconds. */
  alert_ttl_s: number;
  /** Copies of one alert, as that many worker processes without Redis send. */
  alert_copies: number;
  /** From a costed request to the `spend` that `/team/info` shows, in milliseconds; 0 shows it at once. */
  spend_lag_ms: number;
  /** What one chat completion costs, in US dollars. */
  call_cost: number;
  /**
   * What one chat completion reserves, in US dollars; 0 reserves nothing. A call whose reservation does not fit
   * into what is left is refused, and alerted as crossed with `spend` equal to `max_budget`, as 1.110.2 does:
   * the live counter holds reservations.
   */
  call_reservation: number;
  /** Behaves like a proxy whose PostgreSQL is unavailable. */
  database_down: boolean;
  /** `default_team_params.budget_duration`: what a new team gets that names none; null names none. */
  default_budget_duration: string | null;
};

/** Used unless an option says otherwise: the real proxy's defaults, where it has one. */
export const DEFAULTS = {
  version: '1.100.5' as Version,
  master_key: 'sk-1234',
  alert_ttl_s: 86_400,
  alert_copies: 1,
  spend_lag_ms: 10_000,
  call_cost: 0.0002,
  call_reservation: 0,
};
