/** Customers, with the default payment method that invoices, and a careful integrator, charge. */
import type { Account } from './account.ts';
import { invalidRequest, resourceMissing } from './errors.ts';
import { type Customer, type DeletedCustomer, newId, now } from './objects.ts';
import type { Parameters } from './parameters.ts';
import { attachTo } from './payment-methods.ts';

const WRITABLE = ['email', 'name', 'description', 'metadata', 'invoice_settings'];

export function createCustomer(account: Account, parameters: Parameters): Customer {
  parameters.allowOnly(...WRITABLE, 'payment_method');
  return addCustomer(account, parameters, newId('cus'));
}

/** One of an id that is known beforehand, as after years of business. */
export function seedCustomer(account: Account, parameters: Parameters, id: string): Customer {
  parameters.allowOnly(...WRITABLE, 'payment_method');
  return addCustomer(account, parameters, id);
}

function addCustomer(account: Account, parameters: Parameters, newCustomerId: string): Customer {
  const customer: Customer = {
    id: newCustomerId,
    object: 'customer',
    created: now(),
    email: null,
    name: null,
    description: null,
    invoice_settings: { default_payment_method: null },
    default_source: null,
    livemode: false,
    metadata: {},
  };
  const given = parameters.text('payment_method');
  const attached = given === undefined ? undefined : attachTo(account, customer.id, given).id;
  // A test id given both as the payment method and as the default means the one card that it became.
  write(account, customer, parameters, (id) => (id === given && attached !== undefined ? attached : id));
  account.customers.add(customer);
  account.emit('customer.created', customer);
  return customer;
}

export function updateCustomer(account: Account, parameters: Parameters, id: string): Customer {
  parameters.allowOnly(...WRITABLE);
  const customer = account.customers.get(id);
  if ('deleted' in customer) throw resourceMissing(404, 'customer', id, 'id');
  const before = structuredClone(customer);
  write(account, customer, parameters, (method) => method);
  account.emit('customer.updated', customer, before);
  return customer;
}

function write(account: Account, customer: Customer, parameters: Parameters, resolve: (methodId: string) => string): void {
  const metadata = parameters.metadata(customer.metadata);
  const settings = parameters.nested('invoice_settings');
  settings.allowOnly('default_payment_method');
  if (settings.has('default_payment_method')) {
    const given = settings.text('default_payment_method');
    const id = given === undefined ? null : resolve(given);
    if (id !== null && account.paymentMethods.find(id)?.customer !== customer.id) {
      throw invalidRequest(
        `The customer does not have a payment method with the ID ${id}. The payment method must be attached to the customer.`,
        { code: 'resource_missing', param: 'invoice_settings[default_payment_method]' },
      );
    }
    customer.invoice_settings.default_payment_method = id;
  }
  for (const field of ['email', 'name', 'description'] as const) {
    if (parameters.has(field)) customer[field] = parameters.text(field) ?? null;
  }
  customer.metadata = metadata;
}

/** A deleted customer is still answered, as `{id, object, deleted: true}`. */
export function retrieveCustomer(account: Account, parameters: Parameters, id: string): Customer | DeletedCustomer {
  parameters.allowOnly();
  return account.customers.get(id);
}

/** Its payment methods keep its id, and cannot be charged any more. */
export function deleteCustomer(account: Account, _: Parameters, id: string): DeletedCustomer {
  const customer = account.customers.get(id);
  if ('deleted' in customer) throw resourceMissing(404, 'customer', id, 'id');
  account.emit('customer.deleted', customer);
  return account.customers.add({ id, object: 'customer', deleted: true }) as DeletedCustomer;
}

export function listCustomers(account: Account, parameters: Parameters) {
  parameters.allowOnly('limit', 'starting_after', 'ending_before', 'created', 'email');
  const inRange = parameters.created();
  const email = parameters.text('email');
  return account.customers.list(
    '/v1/customers',
    parameters.page(),
    (customer) => !('deleted' in customer) && inRange(customer.created) && (email === undefined || customer.email === email),
  );
}
