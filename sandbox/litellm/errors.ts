/**
 * The three error shapes of LiteLLM: its own ProxyException, FastAPI's HTTPException, and FastAPI's
 * validation errors.
 */
import type { Answer } from '../exchange.ts';
import { pyRepr } from './python.ts';

/** Thrown by a handler to answer something other than success. */
export class Refusal extends Error {
  readonly answer: Answer;

  constructor(answer: Answer) {
    super(`${answer.status} ${JSON.stringify(answer.body)}`);
    this.answer = answer;
  }
}

/**
 * `{"error":{message,type,param,code}}`; `code` is the HTTP status as a string, `param` often the string
 * "None".
 */
export function proxyException(status: number, type: string, message: string, param: string | null = 'None'): Refusal {
  return new Refusal({ status, body: { error: { message, type, param, code: String(status) } } });
}

/**
 * An HTTPException that went through `handle_exception_on_proxy`, which prints its detail as a Python dict.
 */
export function managementError(status: number, message: string): Refusal {
  return proxyException(status, 'internal_server_error', pyRepr({ error: message }));
}

/** An unwrapped HTTPException: `{"detail": …}`. */
export function httpException(status: number, detail: unknown): Refusal {
  return new Refusal({ status, body: { detail } });
}

export type ValidationIssue = { type: string; loc: (string | number)[]; msg: string; input: unknown; ctx?: unknown };

/** FastAPI's 422, which lists every field that does not fit. */
export function validationError(issues: ValidationIssue[]): Refusal {
  return httpException(422, issues);
}

/** The form of /team/info, which differs from the other routes'. */
export function teamInfoNotFound(team_id: string) {
  return proxyException(404, 'auth_error', pyRepr({ message: `Team not found, passed team id: ${team_id}.` }));
}

/** The form of /team/block, /team/delete and the member routes. */
export function teamNotFound(team_id: string) {
  return httpException(404, { error: `Team not found, passed team_id=${team_id}` });
}

/** The form of the routes that load the team for something else. */
export function memberTeamNotFound(team_id: string) {
  return httpException(404, { error: `Team doesn't exist in db. Team=${team_id}. Create team via \`/team/new\` call.` });
}
