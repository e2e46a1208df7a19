import { ConnectionException, DriverException } from '@mikro-orm/core';

/**
 * Five characters, of which the class comes first:
 * https://www.postgresql.org/docs/current/errcodes-appendix.html
 */
const SQLSTATE = /^(?=.{5}$)(\d\w|F0|HV|P0|XX)[0-9A-Z]+$/;
/**
 * Classes of a server that is unavailable, full or shutting down: connection exception (except our own
 * protocol errors), insufficient resources, operator intervention.
 */
const OUTAGE_STATES = /^(08(?!P01)|53|57)/;
const SOCKET_ERRORS = /^(ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN)$/;
/** pg's own messages when it gets no connection or loses one. */
const PG_MESSAGES = /^(timeout exceeded when trying to connect|Connection terminated|Client has encountered a connection error)/;

/** Whether the database was unavailable, as opposed to having refused a statement. */
export function isDatabaseOutage(error: unknown): boolean {
  if (error instanceof ConnectionException) return true;
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  return OUTAGE_STATES.test(String(code)) || SOCKET_ERRORS.test(String(code)) || PG_MESSAGES.test(String(message));
}

/** Whether the error comes from the database at all. */
export function isDatabaseError(error: unknown): boolean {
  const { code } = (error ?? {}) as { code?: unknown };
  return error instanceof DriverException || SQLSTATE.test(String(code)) || isDatabaseOutage(error);
}
