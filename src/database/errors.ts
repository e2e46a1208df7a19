/** What an error of the database is: an outage, a refusal of TLS, or a refused statement. */
import { ConnectionException, DriverException, ForeignKeyConstraintViolationException } from '@mikro-orm/core';
import { whyUnreachable } from '../domain/unreachable.ts';
import type { SslMode } from './connection-url.ts';

const TLS_REFUSED = 'TLS_REFUSED';
/** Of a statement that writes, where nothing can be written: the primary of before a failover, or one that was stopped from it. */
const READ_ONLY = '25006';

/** There is no TLS connection as `sslmode` asks for it. Nothing was sent in plain text. */
export class TlsRefusedError extends Error {
  override name = 'TlsRefusedError';
  /** MikroORM copies it to an error of its own. */
  readonly code = TLS_REFUSED;

  constructor(sslMode: SslMode, reason: string) {
    super(`no connection to PostgreSQL as sslmode=${sslMode} in DATABASE_URL asks for it: ${reason}`);
  }
}

/** No answer came, and the connection was given up. */
export class UnansweredError extends Error {
  override name = 'UnansweredError';
  readonly code = 'ETIMEDOUT';

  constructor(afterMs: number) {
    super(`no answer from PostgreSQL, or from the pooler before it, within ${afterMs / 1000} s`);
  }
}

/** The server takes no writes. */
export class ReadOnlyError extends Error {
  override name = 'ReadOnlyError';
  readonly code = READ_ONLY;

  constructor() {
    super('the server is read-only');
  }
}

/** Whether the server takes no writes. A connection to it is of no use: another one may lead to a server that does. */
export function isReadOnly(error: unknown): boolean {
  return (error as { code?: unknown } | undefined)?.code === READ_ONLY;
}

/**
 * Five characters, of which the class comes first:
 * https://www.postgresql.org/docs/current/errcodes-appendix.html
 */
const SQLSTATE = /^(?=.{5}$)(\d\w|F0|HV|P0|XX)[0-9A-Z]+$/;
/**
 * Classes of a server that is unavailable, full or shutting down: connection exception (except our own
 * protocol errors), insufficient resources, operator intervention. And one that takes no writes.
 */
const OUTAGE_STATES = new RegExp(`^(08(?!P01)|53|57|${READ_ONLY}$)`);
const SOCKET_ERRORS = /^(ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN)$/;
/** pg's own messages when it gets no connection or loses one. */
const PG_MESSAGES =
  /^(timeout exceeded when trying to connect|timeout expired|Connection terminated|Client has encountered a connection error)/;
/**
 * PgBouncer's code for nearly everything: it cannot reach the server, has no connection left, is shutting
 * down. PostgreSQL means a message of ours that it cannot read, and then names the routine that could not.
 */
const POOLER_STATE = '08P01';

/** Whether the database was unavailable, as opposed to having refused a statement. */
export function isDatabaseOutage(error: unknown): boolean {
  if (error instanceof ConnectionException) return true;
  const { code, message, routine } = (error ?? {}) as { code?: unknown; message?: unknown; routine?: unknown };
  if (code === POOLER_STATE) return routine === undefined;
  return OUTAGE_STATES.test(String(code)) || SOCKET_ERRORS.test(String(code)) || PG_MESSAGES.test(String(message));
}

/**
 * Whether a row was to be stored of one that is gone. Every request looks first whether its organization exists, so it was
 * removed after that.
 */
export function isReferenceGone(error: unknown): boolean {
  return error instanceof ForeignKeyConstraintViolationException;
}

/** Whether TLS was refused: no retry helps, somebody has to change `DATABASE_URL` or the server. */
export function isTlsRefused(error: unknown): boolean {
  return (error as { code?: unknown } | undefined)?.code === TLS_REFUSED;
}

/** What PostgreSQL refuses, and what to do: by SQLSTATE. `said` is PostgreSQL's own sentence, which names no secret. */
const REFUSALS: Readonly<Record<string, (said: string) => string>> = {
  '28P01': (said) => `PostgreSQL refuses the user or password of DATABASE_URL (${said}): correct them`,
  '28000': (said) => `PostgreSQL refuses the user of DATABASE_URL (${said}): correct it, or allow it in pg_hba.conf`,
  '3D000': (said) => `PostgreSQL has no such database (${said}): make it, or correct its name in DATABASE_URL`,
  '42501': (said) => `PostgreSQL refuses this to the user of DATABASE_URL (${said}): grant it, or name another user`,
  '42P01': (said) => `the tables are not those of this version (${said}): run bill migrate`,
  '42703': (said) => `the tables are not those of this version (${said}): run bill migrate`,
  [READ_ONLY]: (said) =>
    `PostgreSQL takes no writes (${said}): lead DATABASE_URL to the primary, or see why it is read-only, as on a full disk`,
  '53300': (said) => `PostgreSQL has no connection left (${said}): try again, or raise its max_connections`,
};

/** An error of the database for a person: which system, which setting, what to do next. Without what was sent. */
export function describeDatabaseError(error: unknown): string {
  const { code, message = '' } = (error ?? {}) as { code?: unknown; message?: string };
  if (isTlsRefused(error)) return message;
  const said = message.split('\n')[0]?.replace(/^.* - /, '') ?? '';
  const refusal = REFUSALS[String(code)];
  if (refusal) return refusal(said);
  if (isDatabaseOutage(error)) {
    return `PostgreSQL cannot be reached (${whyUnreachable(error) ?? said}): start it, or correct DATABASE_URL; bill doctor checks it`;
  }
  return `PostgreSQL refuses a statement (${said}, SQLSTATE ${String(code)}): its log says more`;
}

/** Whether the error comes from the database at all. */
export function isDatabaseError(error: unknown): boolean {
  const { code } = (error ?? {}) as { code?: unknown };
  return error instanceof DriverException || SQLSTATE.test(String(code)) || isTlsRefused(error) || isDatabaseOutage(error);
}
