/** The part of Stripe's API that taking and returning money off-session needs, path by path. */
import type { SandboxRequest } from '../exchange.ts';
import type { Account } from './account.ts';
import { listCharges, retrieveCharge } from './charges.ts';
import { createCustomer, deleteCustomer, listCustomers, retrieveCustomer, updateCustomer } from './customers.ts';
import { listDisputes, retrieveDispute } from './disputes.ts';
import { listEarlyFraudWarnings, retrieveEarlyFraudWarning } from './early-fraud-warnings.ts';
import { StripeError } from './errors.ts';
import { listEvents, retrieveEvent } from './events.ts';
import type { Parameters } from './parameters.ts';
import {
  cancelPaymentIntent,
  capturePaymentIntent,
  confirmPaymentIntent,
  createPaymentIntent,
  listPaymentIntents,
  retrievePaymentIntent,
  updatePaymentIntent,
} from './payment-intents.ts';
import {
  attachPaymentMethod,
  detachPaymentMethod,
  listCustomerPaymentMethods,
  listPaymentMethods,
  retrievePaymentMethod,
} from './payment-methods.ts';
import { cancelRefund, createRefund, listRefunds, retrieveRefund } from './refunds.ts';
import { createWebhookEndpoint, deleteWebhookEndpoint, listWebhookEndpoints } from './webhooks.ts';

export type Endpoint = (account: Account, parameters: Parameters, id: string) => object;
export type Route = [method: string, path: string, endpoint: Endpoint];

/** `:id` stands for one segment. */
export const API: Route[] = [
  ['GET', '/v1/account', () => ({ id: 'acct_sandbox', object: 'account', charges_enabled: true, country: 'US', default_currency: 'usd' })],
  [
    'GET',
    '/v1/balance',
    (_, parameters) => {
      parameters.allowOnly();
      return { object: 'balance', available: [], pending: [], livemode: false };
    },
  ],
  ['POST', '/v1/customers', createCustomer],
  ['GET', '/v1/customers', listCustomers],
  ['GET', '/v1/customers/:id', retrieveCustomer],
  ['POST', '/v1/customers/:id', updateCustomer],
  ['DELETE', '/v1/customers/:id', deleteCustomer],
  ['GET', '/v1/customers/:id/payment_methods', listCustomerPaymentMethods],
  ['GET', '/v1/payment_methods', listPaymentMethods],
  ['GET', '/v1/payment_methods/:id', retrievePaymentMethod],
  ['POST', '/v1/payment_methods/:id/attach', attachPaymentMethod],
  ['POST', '/v1/payment_methods/:id/detach', detachPaymentMethod],
  ['POST', '/v1/payment_intents', createPaymentIntent],
  ['GET', '/v1/payment_intents', listPaymentIntents],
  ['GET', '/v1/payment_intents/:id', retrievePaymentIntent],
  ['POST', '/v1/payment_intents/:id', updatePaymentIntent],
  ['POST', '/v1/payment_intents/:id/confirm', confirmPaymentIntent],
  ['POST', '/v1/payment_intents/:id/capture', capturePaymentIntent],
  ['POST', '/v1/payment_intents/:id/cancel', cancelPaymentIntent],
  ['GET', '/v1/charges', listCharges],
  ['GET', '/v1/charges/:id', retrieveCharge],
  ['POST', '/v1/refunds', createRefund],
  ['GET', '/v1/refunds', listRefunds],
  ['GET', '/v1/refunds/:id', retrieveRefund],
  ['POST', '/v1/refunds/:id/cancel', cancelRefund],
  ['GET', '/v1/disputes', listDisputes],
  ['GET', '/v1/disputes/:id', retrieveDispute],
  ['GET', '/v1/radar/early_fraud_warnings', listEarlyFraudWarnings],
  ['GET', '/v1/radar/early_fraud_warnings/:id', retrieveEarlyFraudWarning],
  ['GET', '/v1/events', listEvents],
  ['GET', '/v1/events/:id', retrieveEvent],
  ['POST', '/v1/webhook_endpoints', createWebhookEndpoint],
  ['GET', '/v1/webhook_endpoints', listWebhookEndpoints],
  ['DELETE', '/v1/webhook_endpoints/:id', deleteWebhookEndpoint],
];

/** @throws {StripeError} 404 for a path that the API does not have. */
export function route(routes: Route[], request: SandboxRequest): { endpoint: Endpoint; id: string } {
  const segments = request.path.split('/');
  for (const [method, path, endpoint] of routes) {
    if (method !== request.method) continue;
    const wanted = path.split('/');
    if (wanted.length !== segments.length) continue;
    if (!wanted.every((part, index) => part === ':id' || part === segments[index])) continue;
    return { endpoint, id: segments[wanted.indexOf(':id')] ?? '' };
  }
  throw new StripeError(
    404,
    { type: 'invalid_request_error', message: `Unrecognized request URL (${request.method}: ${request.path}).` },
    false,
  );
}
