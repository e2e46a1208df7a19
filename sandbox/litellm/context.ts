/** What the handlers share, and the form of a route. */
import type { Caller } from './auth.ts';
import type { BudgetEnforcement } from './budget.ts';
import type { Store } from './store.ts';
import type { JsonObject } from './validation.ts';

export type Settings = {
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
  /** Behaves as a proxy whose PostgreSQL is away. */
  database_down: boolean;
};

export type Context = { store: Store; settings: Settings; budget: BudgetEnforcement };

export type Call = { body: JsonObject | undefined; query: URLSearchParams; caller: Caller };

/** Answers with the body of a 200, or throws a Refusal. */
export type Handler = (context: Context, call: Call) => unknown;
