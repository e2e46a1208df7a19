import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { webhookKey } from '../../../src/domain/webhook-key.ts';

describe('the key that signs a webhook', () => {
  test('is what a secret of Standard Webhooks holds as base64 after whsec_', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        expect(webhookKey(`whsec_${Buffer.from(bytes).toString('base64')}`)).toEqual(Buffer.from(bytes));
      }),
    );
    expect(webhookKey('whsec_AQID')).toEqual(Buffer.from([1, 2, 3]));
  });

  test('is the UTF-8 bytes of any other secret', () => {
    expect(webhookKey('Schlüssel')).toEqual(Buffer.from([0x53, 0x63, 0x68, 0x6c, 0xc3, 0xbc, 0x73, 0x73, 0x65, 0x6c]));
    expect(webhookKey('AQID')).toEqual(Buffer.from([0x41, 0x51, 0x49, 0x44]));
  });

  test('is taken literally where whsec_ does not come first', () => {
    for (const secret of ['AQIDwhsec_', ' whsec_AQID', 'WHSEC_AQID']) expect(webhookKey(secret).toString('latin1')).toBe(secret);
  });
});
