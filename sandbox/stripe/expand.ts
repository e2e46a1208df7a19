/**
 * `expand[]`: an id in an answer becomes the object that it names.
 * https://docs.stripe.com/api/expanding_objects
 */
import type { Account } from './account.ts';
import { invalidParameter } from './errors.ts';
import type { Parameters } from './parameters.ts';

/** Stripe expands four levels deep. */
const MAX_DEPTH = 4;

/** `data` and `invoice_settings` lead to the others. */
const EXPANDABLE = [
  'data',
  'invoice_settings',
  'charge',
  'customer',
  'default_payment_method',
  'latest_charge',
  'payment_intent',
  'payment_method',
];

type Node = Record<string, unknown>;

/**
 * The paths to expand, such as `latest_charge` or, in a list, `data.payment_method`. Checked before an
 * endpoint runs, so that a wrong one has no effect.
 *
 * @throws {StripeError} 400 for a property that no object has, or too many levels.
 */
export function readExpansions(parameters: Parameters): string[][] {
  return (parameters.texts('expand') ?? []).map((path) => {
    const names = path.split('.');
    if (names.filter((name) => name !== 'data').length > MAX_DEPTH) {
      throw invalidParameter(`You cannot expand more than ${MAX_DEPTH} levels of a property (${path}).`, 'expand');
    }
    if (!names.every((name) => EXPANDABLE.includes(name))) throw invalidParameter(`This property cannot be expanded (${path}).`, 'expand');
    return names;
  });
}

/** A copy of the answer with each path expanded. */
export function expand(account: Account, answer: object, paths: string[][]): object {
  if (paths.length === 0) return answer;
  const copy = structuredClone(answer);
  for (const names of paths) expandPath(account, copy as Node, names);
  return copy;
}

function expandPath(account: Account, node: Node, [name, ...rest]: string[]): void {
  if (name === undefined) return;
  const value = node[name];
  if (typeof value === 'string') node[name] = structuredClone(objectNamed(account, value)) ?? value;
  const next = node[name];
  for (const inner of Array.isArray(next) ? next : [next]) {
    if (typeof inner === 'object' && inner !== null) expandPath(account, inner, rest);
  }
}

function objectNamed(account: Account, id: string): object | undefined {
  return account.charges.find(id) ?? account.paymentMethods.find(id) ?? account.customers.find(id) ?? account.paymentIntents.find(id);
}
