/** Stripe's error bodies: https://docs.stripe.com/api/errors */

export type ErrorBody = {
  type: 'api_error' | 'card_error' | 'idempotency_error' | 'invalid_request_error';
  message: string;
  code?: string;
  param?: string;
  decline_code?: string;
  advice_code?: string;
  network_advice_code?: string;
  network_decline_code?: string;
  /** The failed attempt, for card errors. */
  charge?: string;
  payment_intent?: object;
  payment_method?: object;
};

export class StripeError extends Error {
  readonly status: number;
  readonly body: ErrorBody;
  /**
   * Whether an endpoint had begun to execute. Stripe saves an answer under its idempotency key only from
   * there on, so a request refused before it may be corrected and sent again with the same key.
   */
  readonly executed: boolean;

  constructor(status: number, body: ErrorBody, executed = true) {
    super(body.message);
    this.status = status;
    this.body = body;
    this.executed = executed;
  }
}

/** A request that is well-formed and cannot be done: 400, saved under the idempotency key. */
export function invalidRequest(message: string, extra: Partial<ErrorBody> = {}): StripeError {
  return new StripeError(400, { type: 'invalid_request_error', message, ...extra });
}

/** Parameters that fail validation: 400, not saved under the idempotency key. */
export function invalidParameter(message: string, param: string, code?: string): StripeError {
  return new StripeError(400, { type: 'invalid_request_error', message, param, ...(code && { code }) }, false);
}

/** @param status 404 when the path names the missing object, 400 when a parameter does. */
export function resourceMissing(status: 400 | 404, resource: string, id: string, param: string): StripeError {
  return new StripeError(status, {
    type: 'invalid_request_error',
    code: 'resource_missing',
    message: `No such ${resource}: '${id}'`,
    param,
  });
}

/** The error as Stripe writes it, with the links that it derives from the code and the request. */
export function errorAnswer(body: ErrorBody, requestId: string): { error: object } {
  return {
    error: {
      ...body,
      ...(body.code && { doc_url: `https://stripe.com/docs/error-codes/${body.code.replaceAll('_', '-')}` }),
      request_log_url: `https://dashboard.stripe.com/test/logs/${requestId}`,
    },
  };
}
