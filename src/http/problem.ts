/** Errors as RFC 9457 problem details, each with a stable `type`. */
import type { ErrorRequestHandler, RequestHandler, Response } from 'express';
import type { z } from 'zod';
import { describeDatabaseError, isDatabaseOutage, isReferenceGone } from '../database/errors.ts';
import { UnknownNameError } from '../database/names.ts';
import { BadCursorError } from '../database/page.ts';
import { KmsError } from '../kms/errors.ts';
import type { Logger } from '../observability/log.ts';
import { PaymentsError } from '../payments/errors.ts';
import { fieldErrorsOf, wantedBy } from './wanted.ts';

/** Every problem that the service answers with: the status and the title that go with its type. */
const PROBLEMS = {
  malformed: [400, 'The request cannot be read'],
  unauthenticated: [401, 'The request is not authentic'],
  'not-found': [404, 'Not found'],
  'method-not-allowed': [405, 'The route does not take this method'],
  conflict: [409, 'The request conflicts with the present state'],
  'too-large': [413, 'The body is too large'],
  'unsupported-media-type': [415, 'The content type is not supported'],
  invalid: [422, 'The request can be read but is not valid'],
  internal: [500, 'The service has failed'],
  unavailable: [503, 'The service cannot do this at the moment'],
} as const satisfies Record<string, readonly [number, string]>;

export type ProblemKind = keyof typeof PROBLEMS;
export type FieldError = { field: string; message: string };

export class Problem extends Error {
  override name = 'Problem';
  readonly kind: ProblemKind;
  readonly fields: FieldError[];

  /** @param detail what is wrong and what to change, for the person who sent the request. */
  constructor(kind: ProblemKind, detail: string, fields: FieldError[] = []) {
    super(detail);
    this.kind = kind;
    this.fields = fields;
  }
}

/**
 * A value that is readable but not valid. @param message completes the field's name to a sentence: "has to be above
 * minimum_balance".
 */
export function invalidField(field: string, message: string): Problem {
  return invalidFields([{ field, message }]);
}

/** As `invalidField`, of several. */
export function invalidFields(fields: FieldError[]): Problem {
  return new Problem('invalid', fields.map(({ field, message }) => (field ? `${field}: ${message}` : message)).join('; '), fields);
}

/**
 * Waits for all checks of a request, so that everything that is not valid is told at once.
 *
 * @throws Problem 422 that names every field; else the first error of another kind.
 */
export async function allValid<Checks extends readonly unknown[]>(
  checks: [...Checks],
): Promise<{ [C in keyof Checks]: Awaited<Checks[C]> }> {
  const settled = await Promise.allSettled(checks);
  const errors = settled.flatMap((each) => (each.status === 'rejected' ? [each.reason as unknown] : []));
  const invalid = errors.filter((error): error is Problem => error instanceof Problem && error.kind === 'invalid');
  if (errors.length > invalid.length) throw errors.find((error) => !invalid.includes(error as Problem));
  if (invalid.length > 0) throw invalidFields(invalid.flatMap(({ fields }) => fields));
  return settled.map((each) => (each as PromiseFulfilledResult<unknown>).value) as { [C in keyof Checks]: Awaited<Checks[C]> };
}

/** Seconds after which a request that met an outage may come again. */
const RETRY_AFTER_S = 1;

export function sendProblem(response: Response, problem: Problem): void {
  const [status, title] = PROBLEMS[problem.kind];
  if (status === 401) response.set('WWW-Authenticate', 'Bearer');
  if (status === 503) response.set('Retry-After', String(RETRY_AFTER_S));
  response
    .status(status)
    .type('application/problem+json')
    .send(
      JSON.stringify({
        type: `urn:bill-service:problem:${problem.kind}`,
        title,
        status,
        detail: problem.message,
        ...(problem.fields.length > 0 && { errors: problem.fields }),
      }),
    );
}

/** Checks a body or a query. @throws Problem 422 that names each field, what is wanted and what was given. */
export function parse<T extends z.ZodType>(schema: T, value: unknown): z.output<T> {
  const parsed = schema.safeParse(value, { error: wantedBy });
  if (parsed.success) return parsed.data;
  const fields = parsed.error.issues.flatMap((issue) => fieldErrorsOf(issue, schema, value));
  throw invalidFields(fields);
}

export const notFoundHandler: RequestHandler = ({ method, path }, _response) => {
  throw new Problem('not-found', `there is no ${method} ${path}`);
};

/** The last handler: turns every error into a problem, and logs the unexpected ones. */
export function errorHandler(log: Logger): ErrorRequestHandler {
  return (error, request, response, next) => {
    if (response.headersSent) return next(error);
    if (error instanceof Problem) return sendProblem(response, error);
    sendProblem(
      response,
      ofExpress(error) ?? ofFilter(error) ?? ofDatabase(error, request.method) ?? ofKms(error) ?? ofPayments(error) ?? unexpected(),
    );

    function unexpected(): Problem {
      log.error({ method: request.method, path: request.path, error: (error as Error)?.stack }, 'a request failed unexpectedly');
      return new Problem('internal', 'the request failed; the log says why');
    }
  };
}

function ofFilter(error: unknown): Problem | undefined {
  if (error instanceof BadCursorError) return invalidField('cursor', error.message);
  return error instanceof UnknownNameError ? invalidField(error.field, error.message) : undefined;
}

function ofDatabase(error: unknown, method: string): Problem | undefined {
  if (isReferenceGone(error)) return new Problem('conflict', 'the organization was removed meanwhile, and nothing was stored');
  if (!isDatabaseOutage(error)) return undefined;
  return new Problem('unavailable', `${method === 'GET' ? '' : 'nothing was stored: '}${describeDatabaseError(error)}`);
}

/** An administrator can act on LiteLLM's own message. That it refuses our key is an outage for our caller. */
function ofKms(error: unknown): Problem | undefined {
  if (!(error instanceof KmsError)) return undefined;
  switch (error.kind) {
    case 'not_found':
      return new Problem('not-found', error.message);
    case 'conflict':
      return new Problem('conflict', error.message);
    case 'invalid':
      return new Problem('invalid', error.message);
    case 'forbidden':
    case 'unauthenticated':
      return new Problem('unavailable', `${error.message}: correct KMS_API_KEY; bill doctor says what the key may do`);
    default:
      return new Problem('unavailable', `${error.message}: try again; if it stays so, bill doctor checks LiteLLM and KMS_BASE_URL`);
  }
}

/** Whatever Stripe refuses us is an outage to our caller. */
function ofPayments(error: unknown): Problem | undefined {
  if (!(error instanceof PaymentsError)) return undefined;
  const next =
    error.kind === 'key'
      ? 'correct STRIPE_SECRET_KEY'
      : 'try again; if it stays so, bill doctor checks STRIPE_SECRET_KEY and STRIPE_API_BASE';
  return new Problem('unavailable', `this depends on what Stripe says, and no usable answer came: ${error.message}: ${next}`);
}

/**
 * Express's body parsers throw errors with a `type`; its router throws a URIError for a path that cannot be
 * decoded.
 */
function ofExpress(error: { type?: string; limit?: number }): Problem | undefined {
  if (error instanceof URIError) return new Problem('malformed', 'the path is not percent-encoded UTF-8');
  switch (error.type) {
    case 'entity.too.large':
      return new Problem('too-large', `the body is over ${error.limit} bytes`);
    case 'encoding.unsupported':
      return new Problem('unsupported-media-type', 'the body is compressed: send it as it is');
    case 'charset.unsupported':
      return new Problem('unsupported-media-type', 'the body has to be UTF-8');
    case 'entity.parse.failed':
      return new Problem('malformed', 'the body is not JSON');
    case 'request.aborted':
    case 'request.size.invalid':
      return new Problem('malformed', 'the body ended early');
    default:
      return undefined;
  }
}
