/** Events as the API answers them. */
import type { Account } from './account.ts';
import type { StripeEvent } from './objects.ts';
import type { Parameters } from './parameters.ts';

export function retrieveEvent(account: Account, _: Parameters, id: string): StripeEvent {
  return account.events.get(id);
}

/** @field types up to 20 at Stripe; `type` may end in `*`. */
export function listEvents(account: Account, parameters: Parameters) {
  parameters.allowOnly('limit', 'starting_after', 'ending_before', 'created', 'type', 'types', 'delivery_success');
  const inRange = parameters.created();
  const type = parameters.text('type');
  const types = parameters.texts('types');
  const delivered = parameters.boolean('delivery_success');
  return account.events.list(
    '/v1/events',
    parameters.page(),
    (event) =>
      inRange(event.created) &&
      (type === undefined || event.type === type || (type.endsWith('*') && event.type.startsWith(type.slice(0, -1)))) &&
      (types === undefined || types.includes(event.type)) &&
      (delivered === undefined || delivered === (event.pending_webhooks === 0)),
  );
}
