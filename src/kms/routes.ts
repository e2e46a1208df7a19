/**
 * The routes of LiteLLM that the service calls, which its key has to be allowed. Each has a call that changes
 * nothing and shows whether the key may call it: LiteLLM checks the key first, then the body, then what the
 * body names.
 */

/** No team, user or key has this id. */
const NO_ID = 'bill-doctor/0193f0c2-b7d8-7c1a-a4a6-e1f0f2b1c9d3';
/** Neither a number nor a list: refused with 422 before anything is looked up. */
const INVALID = 'bill-doctor';

export type KmsRoute = { method: 'GET' | 'POST'; path: string; harmless: Record<string, unknown> };

/** How a team's budget is read, of no team. */
export const BUDGET_READ: KmsRoute = { method: 'GET', path: '/team/info', harmless: { team_id: NO_ID } };
/** How budgets are written, without effect. */
export const BUDGET_WRITE: KmsRoute = { method: 'POST', path: '/team/update', harmless: { team_id: NO_ID } };

export const KMS_ROUTES: readonly KmsRoute[] = [
  BUDGET_READ,
  { method: 'GET', path: '/v2/team/list', harmless: { page: 1, page_size: 1 } },
  BUDGET_WRITE,
  { method: 'POST', path: '/team/new', harmless: { max_budget: INVALID } },
  { method: 'POST', path: '/team/member_add', harmless: { team_id: NO_ID, member: INVALID } },
  { method: 'POST', path: '/team/member_update', harmless: { team_id: NO_ID, user_id: NO_ID } },
  { method: 'POST', path: '/team/member_delete', harmless: { team_id: NO_ID, user_id: NO_ID } },
  { method: 'GET', path: '/user/info', harmless: { user_id: NO_ID } },
  { method: 'POST', path: '/user/new', harmless: { models: INVALID } },
  { method: 'POST', path: '/user/update', harmless: { models: INVALID } },
  { method: 'POST', path: '/user/delete', harmless: { user_ids: [NO_ID] } },
  { method: 'GET', path: '/key/info', harmless: { key: NO_ID } },
  { method: 'POST', path: '/key/generate', harmless: { models: INVALID } },
  { method: 'POST', path: '/key/delete', harmless: { keys: [NO_ID] } },
];
