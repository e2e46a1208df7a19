/**
 * The routes of LiteLLM that the service calls: what its key has to be allowed. Each with a call that changes nothing, by which
 * it can be told whether the key may call it: LiteLLM looks at the key first, then at the body, then for what it names.
 */

/** No team, user or key has this id. */
const NOBODY = 'bill-doctor/0193f0c2-b7d8-7c1a-a4a6-e1f0f2b1c9d3';
/** What is no number, no list: refused with 422 before anything is looked for. */
const NONSENSE = 'bill-doctor';

export type KmsRoute = { method: 'GET' | 'POST'; path: string; harmless: Record<string, unknown> };

export const KMS_ROUTES: readonly KmsRoute[] = [
  { method: 'GET', path: '/team/info', harmless: { team_id: NOBODY } },
  { method: 'GET', path: '/v2/team/list', harmless: { page: 1, page_size: 1 } },
  { method: 'POST', path: '/team/update', harmless: { team_id: NOBODY } },
  { method: 'POST', path: '/team/new', harmless: { max_budget: NONSENSE } },
  { method: 'POST', path: '/team/member_add', harmless: { team_id: NOBODY, member: NONSENSE } },
  { method: 'POST', path: '/team/member_update', harmless: { team_id: NOBODY, user_id: NOBODY } },
  { method: 'POST', path: '/team/member_delete', harmless: { team_id: NOBODY, user_id: NOBODY } },
  { method: 'GET', path: '/user/info', harmless: { user_id: NOBODY } },
  { method: 'POST', path: '/user/new', harmless: { models: NONSENSE } },
  { method: 'POST', path: '/user/update', harmless: { models: NONSENSE } },
  { method: 'POST', path: '/user/delete', harmless: { user_ids: [NOBODY] } },
  { method: 'GET', path: '/key/info', harmless: { key: NOBODY } },
  { method: 'POST', path: '/key/generate', harmless: { models: NONSENSE } },
  { method: 'POST', path: '/key/delete', harmless: { keys: [NOBODY] } },
];
