/** What the handlers share, and the form of a route. */
import type { Caller } from './auth.ts';
import type { BudgetEnforcement } from './budget.ts';
import type { Settings } from './settings.ts';
import type { Store } from './store.ts';
import type { JsonObject } from './validation.ts';

export type Context = { store: Store; settings: Settings; budget: BudgetEnforcement };

export type Call = { body: JsonObject | undefined; query: URLSearchParams; caller: Caller };

/** Returns the body of a 200, or throws a Refusal. */
export type Handler = (context: Context, call: Call) => unknown;
