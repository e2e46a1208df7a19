import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { EVENT_TYPES, MalformedStripeEventError, readStripeEvent, topicOf } from '../../../src/payments/events.ts';

const SECRETS = ['whsec_the_old_one', 'whsec_the_new_one'];
const NOW_S = 1_790_000_000;

function event(object: object, type = 'charge.refunded'): Buffer {
  // Indented, as Stripe sends it.
  return Buffer.from(JSON.stringify({ id: 'evt_1', object: 'event', type, data: { object } }, null, 2));
}
const body = event({ id: 'ch_1', object: 'charge', payment_intent: 'pi_1' });
const NOTICE = {
  id: 'evt_1',
  type: 'charge.refunded',
  objectId: 'ch_1',
  paymentIntentId: 'pi_1',
  chargeId: 'ch_1',
  customerId: null,
};

function digest(signed: Buffer, at: number | string, secret: string): string {
  return createHmac('sha256', secret).update(`${at}.`).update(signed).digest('hex');
}
function header(signed: Buffer, at: number | string = NOW_S, secret = SECRETS[0] ?? ''): string {
  return `t=${at},v1=${digest(signed, at, secret)}`;
}
const read = (signature: string, secrets = SECRETS, of = body) => readStripeEvent(of, signature, secrets, NOW_S);

describe('an event is authentic', () => {
  test.each(SECRETS)('when it is signed with %s, either of two', (secret) => {
    expect(read(header(body, NOW_S, secret))).toEqual(NOTICE);
  });

  test('when one of several signatures fits, as while a secret is rolled', () => {
    expect(read(`t=${NOW_S},v1=${'0'.repeat(64)},v1=${digest(body, NOW_S, 'whsec_the_new_one')},v0=whatever`)).toEqual(NOTICE);
  });

  test.each([-300, 0, 300])('%i seconds from now', (offset) => {
    expect(read(header(body, NOW_S + offset))).toEqual(NOTICE);
  });
});

describe('an event is not authentic', () => {
  test.each([-301, 301, -86_400, 86_400])('%i seconds from now', (offset) => {
    expect(read(header(body, NOW_S + offset))).toBeUndefined();
  });

  test.each(['NaN', '', '-1', '1e9', `${NOW_S}000`, `${NOW_S}.5`, ` ${NOW_S}`, 'Infinity'])('at the time "%s"', (at) => {
    expect(read(header(body, at))).toBeUndefined();
  });

  test('when a second time says something else than the first', () => {
    const future = NOW_S + 86_400;
    expect(read(`t=${NOW_S},t=${future},v1=${digest(body, future, SECRETS[0] ?? '')}`)).toBeUndefined();
    expect(read(`t=${future},t=${NOW_S},v1=${digest(body, future, SECRETS[0] ?? '')}`)).toBeUndefined();
  });

  test('under a secret that is not ours, and when there is none', () => {
    expect(read(header(body, NOW_S, 'whsec_of_somebody'))).toBeUndefined();
    expect(read(header(body), [])).toBeUndefined();
  });

  test('when a byte of it is another one, or it was serialised anew', () => {
    const flipped = Buffer.from(body);
    flipped[10] = (flipped[10] ?? 0) ^ 1;
    expect(read(header(body), SECRETS, flipped)).toBeUndefined();
    expect(read(header(body), SECRETS, Buffer.from(JSON.stringify(JSON.parse(body.toString()))))).toBeUndefined();
  });

  test.each([
    '',
    `t=${NOW_S}`,
    `v1=${digest(body, NOW_S, SECRETS[0] ?? '')}`,
    `t=${NOW_S},v1=`,
    `t=${NOW_S},v1=zz`,
    `t=${NOW_S},v0=${digest(body, NOW_S, SECRETS[0] ?? '')}`,
    `t=${NOW_S},v1=${digest(body, NOW_S, SECRETS[0] ?? '').slice(0, 32)}`,
    '=,=,=',
  ])('by the signature "%s"', (signature) => {
    expect(read(signature)).toBeUndefined();
  });
});

describe('an event is about', () => {
  test.each([
    ['an intent', { id: 'pi_1', object: 'payment_intent' }, 'pi_1', 'pi_1'],
    ['a charge', { id: 'ch_1', object: 'charge', payment_intent: 'pi_1' }, 'ch_1', 'pi_1'],
    ['a refund', { id: 're_1', object: 'refund', payment_intent: 'pi_1' }, 're_1', 'pi_1'],
    ['a dispute with its intent expanded', { id: 'du_1', object: 'dispute', payment_intent: { id: 'pi_1' } }, 'du_1', 'pi_1'],
    ['a charge without an intent', { id: 'ch_1', object: 'charge', payment_intent: null }, 'ch_1', null],
    ['something else', { id: 'cus_1', object: 'customer' }, 'cus_1', null],
    ['something without an id', { object: 'balance' }, 'evt_1', null],
  ])('%s', (_what, object, objectId, paymentIntentId) => {
    const sent = event(object);
    expect(read(header(sent), SECRETS, sent)).toMatchObject({ objectId, paymentIntentId });
  });

  test.each([
    ['the charge of a warning', { id: 'issfr_1', object: 'radar.early_fraud_warning', charge: 'ch_1' }, 'ch_1', null],
    ['one that is expanded', { id: 'issfr_1', object: 'radar.early_fraud_warning', charge: { id: 'ch_1' } }, 'ch_1', null],
    ['the customer of a card', { id: 'pm_1', object: 'payment_method', customer: 'cus_1' }, null, 'cus_1'],
    ['the customer itself', { id: 'cus_1', object: 'customer' }, null, 'cus_1'],
    ['nothing readable of an object that is not ours', { id: 'x_1', object: 'x', charge: 5, customer: [] }, null, null],
  ])('%s', (_what, object, chargeId, customerId) => {
    const sent = event(object);
    expect(read(header(sent), SECRETS, sent)).toMatchObject({ chargeId, customerId });
  });

  test('the customer whom a card has left', () => {
    const data = { object: { id: 'pm_1', object: 'payment_method', customer: null }, previous_attributes: { customer: 'cus_1' } };
    const sent = Buffer.from(JSON.stringify({ id: 'evt_1', type: 'payment_method.detached', data }));
    expect(read(header(sent), SECRETS, sent)).toMatchObject({ objectId: 'pm_1', customerId: 'cus_1' });
  });

  test('one of the types that docs/connecting-stripe.md lists', () => {
    const doc = readFileSync(new URL('../../../docs/connecting-stripe.md', import.meta.url), 'utf8');
    const [, table = ''] = doc.split('| event | what follows | without it |\n');
    const listed = table
      .split('\n\n')[0]
      ?.split('\n')
      .flatMap((row) => [...(row.split('|')[1] ?? '').matchAll(/`([^`]+)`/g)]);
    expect(listed?.map(([, type]) => type)).toEqual(EVENT_TYPES);
  });

  test('fraud, a card, a payment or money that goes back, by its type', () => {
    const typesOf = (topic: string) => EVENT_TYPES.filter((type) => topicOf(type) === topic);
    expect(typesOf('fraud')).toEqual(['radar.early_fraud_warning.created', 'radar.early_fraud_warning.updated']);
    for (const type of typesOf('card')) expect(type).toMatch(/^(payment_method|customer)\./);
    for (const type of typesOf('payment')) expect(type).toMatch(/^payment_intent\./);
    for (const type of typesOf('return')) expect(type).toMatch(/^(charge\.refunded|charge\.dispute\..*|refund\..*)$/);
    expect(typesOf('other')).toEqual([]);
  });

  test.each(['charge.succeeded', 'charge.failed', 'charge.captured', 'charge.updated', 'charge.expired', 'customer.created', 'refunds'])(
    'nothing that the service acts on: %s',
    (type) => {
      expect(topicOf(type)).toBe('other');
    },
  );

  test.each(['charge.refund.updated', 'charge.dispute.updated', 'charge.dispute.funds_reinstated'])(
    'money that goes back also by a type that the list does without: %s',
    (type) => {
      expect(topicOf(type)).toBe('return');
    },
  );

  test.each([
    'not json',
    '',
    'null',
    '[]',
    '"evt_1"',
    '{}',
    '{"id":"evt_1"}',
    '{"id":7,"type":"charge.refunded","data":{"object":{"id":"ch_1"}}}',
    '{"id":"evt_1\\u0000","type":"charge.refunded","data":{"object":{"id":"ch_1"}}}',
  ])('nothing that can be told when it is authentic but reads %s', (text) => {
    const sent = Buffer.from(text);
    expect(() => read(header(sent), SECRETS, sent)).toThrow(MalformedStripeEventError);
  });

  test.each([
    '{"id":"evt_1","type":"x"}',
    '{"id":"evt_1","type":"x","data":{}}',
    '{"id":"evt_1","type":"x","object":"v2.core.event","related_object":{"id":"ch_1","type":"charge"}}',
    '{"id":"evt_1","type":"x","data":{"object":{"id":"ch_1\\u0000"}}}',
  ])('what it does not hold: %s', (text) => {
    const sent = Buffer.from(text);
    expect(read(header(sent), SECRETS, sent)).toEqual({ id: 'evt_1', type: 'x', isOpaque: true });
  });
});
