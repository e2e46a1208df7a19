/**
 * The versions of LiteLLM that the stand-in plays. All other files speak 1.100.5 and ask `isNewer` where a
 * route behaves otherwise; what 1.110.2 only words otherwise stands here.
 */
import type { Answer } from '../exchange.ts';

export const VERSIONS = ['1.100.5', '1.110.2'] as const;
export type Version = (typeof VERSIONS)[number];

/** The part of the settings that says which. */
type Played = { version: Version };

export function isNewer({ version }: Played): boolean {
  return version === '1.110.2';
}

/** A call that the budget refuses was 429 before. */
const BUDGET_EXCEEDED_STATUS = 422;

type ProxyError = { message: string; type: string; param: string | null; code: string };

/** The answer as the version words it. Only refusals differ. */
export function asWorded(settings: Played, answer: Answer): Answer {
  const { status, body } = answer;
  if (!isNewer(settings) || status < 400 || typeof body !== 'object' || body === null) return answer;
  const { error, detail } = body as { error?: ProxyError; detail?: unknown };
  if (Array.isArray(detail)) return { ...answer, body: { detail: detail.map(({ type, loc, msg }) => ({ type, loc, msg })) } };
  return error?.code === undefined ? answer : worded(answer, error);
}

function worded(answer: Answer, error: ProxyError): Answer {
  const status = error.type === 'budget_exceeded' ? BUDGET_EXCEEDED_STATUS : answer.status;
  const isUnknownKey = error.type === 'token_not_found_in_db';
  const message = isUnknownKey ? 'Authentication Error, Invalid API key provided.' : error.message;
  const param = error.param === 'None' ? null : error.param;
  return { ...answer, status, body: { error: { message, type: typeOf(error.type, status), param, code: String(status) } } };
}

/** The two types that 1.100.5 gives to everything; the others say what they are about, and stay. */
function typeOf(type: string, status: number): string {
  if ((type !== 'internal_server_error' && type !== 'auth_error') || status >= 500) return type;
  return status === 401 || status === 403 ? 'auth_error' : 'invalid_request_error';
}
