/**
 * What the admin API, the database and the stand-ins say when they are asked; as much of it as tests look at.
 */

/** A recharge as the admin API shows it, whole. */
export type Recharge = {
  id: string;
  event_id: string;
  status: string;
  amount: string;
  returned: string;
  payment_intent_id: string;
  created_at: string;
  refund_id: string | null;
  failure: { code: string; decline_code: string | null; message: string } | null;
  timeline: { status: string }[];
  ledger_transfers: { kind: string }[];
};

export type KmsState = {
  teams: Record<string, { team_alias: string; max_budget: number; blocked: boolean; metadata: object; members: { user_id: string }[] }>;
  users: Record<string, unknown>;
  keys: Record<string, unknown>;
  requests: { method: string; path: string; query: string; status: number; body: string }[];
};

export type StripeState = {
  requests: { method: string; path: string; status: number }[];
  deliveries: { event: string; status?: number }[];
};

/** A refund or dispute as the database has it. */
export type ReversalRow = {
  status: string;
  kind: string;
  failure_message: string | null;
  taken_before: string | null;
  taken_after: string | null;
};
