import { createHmac } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Webhook } from 'standardwebhooks';
import { type AlertSecrets, authenticate, type SignedRequest } from '../../../src/inbox/signatures.ts';

const NOW = 1_700_000_000;
const SECRET = 'a-shared-secret';
const ALERT = '{"event":"budget_crossed","team_id":"t1","event_group":"team"}';
const REFUSED = { authentic: false };

const secrets = (...hmacSecrets: string[]): AlertSecrets => ({ hmacSecrets, urlTokens: [] });

function request(headers: SignedRequest['headers'], body: string | Buffer = ALERT, tokens: string[] = []): SignedRequest {
  return { headers, tokens, body: Buffer.from(body as string) };
}

/** Signed by the library that senders use, which shares no code with ours. */
function standardHeaders({ secret = SECRET, id = 'msg_1', at = NOW, body = ALERT } = {}) {
  const signer = new Webhook(secret, secret.startsWith('whsec_') ? {} : { format: 'raw' });
  return {
    'webhook-id': [id],
    'webhook-timestamp': [String(at)],
    'webhook-signature': [signer.sign(id, new Date(at * 1000), body)],
  };
}

/** Signed by hand, for what the library would not sign. */
function standardHeadersOf(timestamp: string, id = 'msg_1') {
  const signature = createHmac('sha256', SECRET).update(`${id}.${timestamp}.${ALERT}`).digest('base64');
  return { 'webhook-id': [id], 'webhook-timestamp': [timestamp], 'webhook-signature': [`v1,${signature}`] };
}

const hex = (signed: string | Buffer, secret = SECRET) => createHmac('sha256', secret).update(signed).digest('hex');

/** Another character at one place of a text. */
function withAnother(text: string, place: number, character: string): string {
  const at = place % text.length;
  return text.slice(0, at) + character + text.slice(at + 1);
}
const headerCharacters = fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code));

describe('a Standard Webhook', () => {
  const check = (headers: SignedRequest['headers'], body: string | Buffer = ALERT, now = NOW) =>
    authenticate(request(headers, body), secrets(SECRET), now);

  test('signed by the standard library is authentic, whatever its body, and its id is taken', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.uuid(), (body, id) => {
        expect(check(standardHeaders({ id, body }), body)).toEqual({ authentic: true, deliveryId: id });
      }),
    );
  });

  test('is over the bytes as they came, which need not be text', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        const signature = createHmac('sha256', SECRET).update(`msg_1.${NOW}.`).update(bytes).digest('base64');
        expect(check({ ...standardHeaders(), 'webhook-signature': [`v1,${signature}`] }, Buffer.from(bytes))).toMatchObject({
          authentic: true,
        });
      }),
    );
  });

  test('is refused when any bit of the body is flipped', () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 0, max: 7 }), (place, bit) => {
        const body = Buffer.from(ALERT);
        const at = place % body.length;
        body[at] = (body[at] as number) ^ (1 << bit);
        expect(check(standardHeaders(), body)).toEqual(REFUSED);
      }),
    );
  });

  test('is refused when its body is written anew, though it says the same', () => {
    const pretty = JSON.stringify(JSON.parse(ALERT), null, 1);
    expect(check(standardHeaders({ body: pretty }), ALERT)).toEqual(REFUSED);
    expect(check(standardHeaders({ body: pretty }), pretty)).toMatchObject({ authentic: true });
  });

  test.each(['webhook-id', 'webhook-timestamp', 'webhook-signature'] as const)('is refused when any character of %s is another', (name) => {
    const headers = standardHeaders();
    fc.assert(
      fc.property(fc.nat(), headerCharacters, (place, character) => {
        const [value = ''] = headers[name];
        const changed = withAnother(value, place, character);
        fc.pre(changed !== value);
        expect(check({ ...headers, [name]: [changed] })).toEqual(REFUSED);
      }),
      { numRuns: 2000 },
    );
  });

  test('is refused when the signature says the same bytes in another spelling', () => {
    const headers = standardHeaders();
    const [signature = ''] = headers['webhook-signature'];
    const sameBytes = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
      .split('')
      .map((last) => `${signature.slice(0, -2)}${last}=`)
      .filter((other) => other !== signature && decoded(other).equals(decoded(signature)));
    expect(sameBytes).toHaveLength(3);
    for (const spelling of [...sameBytes, signature.slice(0, -1), `${signature}=`, `${signature}A`, signature.replace('v1,', 'v1,!')]) {
      expect([spelling, check({ ...headers, 'webhook-signature': [spelling] })]).toEqual([spelling, REFUSED]);
    }
  });

  test.each(['webhook-id', 'webhook-timestamp', 'webhook-signature'] as const)('is refused without %s, or with an empty one', (name) => {
    const headers = standardHeaders();
    expect(check({ ...headers, [name]: undefined })).toEqual(REFUSED);
    expect(check({ ...headers, [name]: [] })).toEqual(REFUSED);
    expect(check({ ...headers, [name]: [''] })).toEqual(REFUSED);
  });

  test.each(['webhook-id', 'webhook-timestamp', 'webhook-signature'] as const)('is refused with %s twice, even the same twice', (name) => {
    const headers = standardHeaders();
    const [value = ''] = headers[name];
    expect(check({ ...headers, [name]: [value, value] })).toEqual(REFUSED);
    expect(check({ ...headers, [name]: [value, 'v1,AAAA'] })).toEqual(REFUSED);
    expect(check({ ...headers, [name]: ['v1,AAAA', value] })).toEqual(REFUSED);
  });

  test('is refused when its signatures are stuffed together with commas', () => {
    const headers = standardHeaders();
    const [good = ''] = headers['webhook-signature'];
    const bad = `v1,${Buffer.alloc(32).toString('base64')}`;
    for (const stuffed of [`${good},${bad}`, `${bad},${good}`, `${good}, ${bad}`, `${bad}, ${good}`, `${good},`, `,${good}`]) {
      expect([stuffed, check({ ...headers, 'webhook-signature': [stuffed] })]).toEqual([stuffed, REFUSED]);
    }
  });

  test.each(['v1', 'v1,', 'v1=', 'v1a,', 'v2,', 'V1,', ''])('is refused with its signature after %j instead of "v1,"', (prefix) => {
    const headers = standardHeaders();
    const [signature = ''] = headers['webhook-signature'];
    const wrong = prefix === 'v1,' ? `${prefix}${prefix}${signature.slice(3)}` : `${prefix}${signature.slice(3)}`;
    expect(check({ ...headers, 'webhook-signature': [wrong] })).toEqual(REFUSED);
  });

  test('may carry signatures of other versions and other keys beside its own', () => {
    const headers = standardHeaders();
    const [good = ''] = headers['webhook-signature'];
    const ofAnotherKey = standardHeaders({ secret: 'another-secret' })['webhook-signature'][0];
    expect(check({ ...headers, 'webhook-signature': [`v1a,ed25519+/== ${ofAnotherKey} ${good}`] })).toMatchObject({ authentic: true });
  });

  test.each([-300, -299, 0, 299, 300])('whose timestamp is %d seconds from our clock is authentic', (offset) => {
    expect(check(standardHeaders({ at: NOW + offset }))).toMatchObject({ authentic: true });
  });

  test.each([-86_400, -301, 301, 86_400, 10 ** 10])('whose timestamp is %d seconds from our clock is refused', (offset) => {
    expect(check(standardHeaders({ at: NOW + offset }))).toEqual(REFUSED);
  });

  test.each(['NaN', 'Infinity', `-${NOW}`, `+${NOW}`, `${NOW}000`, `${NOW}.0`, '1.7e9', '0x6553f100', ` ${NOW}`, 'now', `${NOW},${NOW}`])(
    'whose timestamp is %j is refused, though signed with it',
    (timestamp) => {
      expect(check(standardHeadersOf(timestamp))).toEqual(REFUSED);
      expect(check(standardHeadersOf(String(NOW)))).toMatchObject({ authentic: true });
    },
  );

  function decoded(signature: string): Buffer {
    return Buffer.from(signature.slice(3), 'base64');
  }
});

describe("a signature in LiteLLM's own header", () => {
  const check = (headers: SignedRequest['headers'], body: string | Buffer = ALERT, now = NOW) =>
    authenticate(request(headers, body), secrets(SECRET), now);
  // Made with Python's hmac module.
  const SIGNATURE = '82c2d2fad5e512eda66926979b571d89678d5e631e125551b975cea4f203914e';
  const SIGNATURE_WITH_TIMESTAMP = '00edb4d1676fafd49aa385ce88b03b911d0a47e185377fed872003ec69760219';

  test('is authentic over the raw body alone, and gives no delivery id', () => {
    const headers = { 'x-litellm-signature': [`sha256=${SIGNATURE}`], 'webhook-id': ['made-up'] };
    expect(check(headers)).toEqual({ authentic: true, deliveryId: null });
  });

  test('is authentic over timestamp and body when a timestamp is sent', () => {
    const headers = { 'x-litellm-signature': [`sha256=${SIGNATURE_WITH_TIMESTAMP}`], 'x-litellm-timestamp': [String(NOW)] };
    expect(check(headers)).toEqual({ authentic: true, deliveryId: null });
  });

  test('is authentic over any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        const body = Buffer.from(bytes);
        expect(check({ 'x-litellm-signature': [`sha256=${hex(body)}`] }, body)).toMatchObject({ authentic: true });
      }),
    );
  });

  test('may be in uppercase hex', () => {
    expect(check({ 'x-litellm-signature': [`sha256=${SIGNATURE.toUpperCase()}`] })).toMatchObject({ authentic: true });
  });

  test('is refused when any bit of the body is flipped', () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 0, max: 7 }), (place, bit) => {
        const body = Buffer.from(ALERT);
        const at = place % body.length;
        body[at] = (body[at] as number) ^ (1 << bit);
        expect(check({ 'x-litellm-signature': [`sha256=${SIGNATURE}`] }, body)).toEqual(REFUSED);
      }),
    );
  });

  test('is refused when any character of it is another', () => {
    const header = `sha256=${SIGNATURE}`;
    fc.assert(
      fc.property(fc.nat(), headerCharacters, (place, character) => {
        const changed = withAnother(header, place, character);
        fc.pre(changed.toLowerCase() !== header);
        expect(check({ 'x-litellm-signature': [changed] })).toEqual(REFUSED);
      }),
      { numRuns: 1000 },
    );
  });

  test('is refused when the timestamp that it is over is left out, changed or added', () => {
    const timestamp = [String(NOW)];
    expect(check({ 'x-litellm-signature': [`sha256=${SIGNATURE_WITH_TIMESTAMP}`] })).toEqual(REFUSED);
    expect(check({ 'x-litellm-signature': [`sha256=${SIGNATURE_WITH_TIMESTAMP}`], 'x-litellm-timestamp': [String(NOW + 1)] })).toEqual(
      REFUSED,
    );
    expect(check({ 'x-litellm-signature': [`sha256=${SIGNATURE}`], 'x-litellm-timestamp': timestamp })).toEqual(REFUSED);
  });

  test.each([
    ['empty', ['']],
    ['there twice', [`sha256=${SIGNATURE}`, `sha256=${SIGNATURE}`]],
    ['stuffed with a comma', [`sha256=${SIGNATURE},sha256=${SIGNATURE}`]],
    ['stuffed with a comma and a space', [`sha256=${'0'.repeat(64)}, sha256=${SIGNATURE}`]],
    ['without its scheme', [SIGNATURE]],
    ['of another scheme', [`sha1=${SIGNATURE}`]],
    ['one character short', [`sha256=${SIGNATURE.slice(0, -1)}`]],
    ['two characters short', [`sha256=${SIGNATURE.slice(0, -2)}`]],
    ['one byte long', [`sha256=${SIGNATURE}00`]],
    ['not hex at the end', [`sha256=${SIGNATURE.slice(0, -1)}g`]],
    ['base64', [`sha256=${Buffer.from(SIGNATURE, 'hex').toString('base64')}`]],
    ['followed by a line break', [`sha256=${SIGNATURE}\n`]],
  ])('is refused when it is %s', (_, values) => {
    expect(check({ 'x-litellm-signature': values })).toEqual(REFUSED);
  });

  test.each([String(NOW - 301), String(NOW + 301), `${NOW}000`, `-${NOW}`, 'NaN', '', `${NOW}.5`])(
    'is refused with the timestamp %j, though over it',
    (timestamp) => {
      const headers = { 'x-litellm-signature': [`sha256=${hex(`${timestamp}.${ALERT}`)}`], 'x-litellm-timestamp': [timestamp] };
      expect(check(headers)).toEqual(REFUSED);
    },
  );

  test('is refused with an empty or a repeated timestamp, though over the body alone', () => {
    const signature = [`sha256=${SIGNATURE}`];
    expect(check({ 'x-litellm-signature': signature, 'x-litellm-timestamp': [''] })).toEqual(REFUSED);
    expect(check({ 'x-litellm-signature': signature, 'x-litellm-timestamp': [String(NOW), String(NOW)] })).toEqual(REFUSED);
  });
});

describe('a secret', () => {
  test('can be rotated: an old and a new one are both accepted, and one that is gone is not', () => {
    const signedWithOld = request(standardHeaders({ secret: 'the-old-secret' }));
    const signedWithNew = request(standardHeaders({ secret: 'the-new-secret' }));
    const litellmWithOld = request({ 'x-litellm-signature': [`sha256=${hex(ALERT, 'the-old-secret')}`] });
    for (const signed of [signedWithOld, signedWithNew, litellmWithOld]) {
      expect(authenticate(signed, secrets('the-old-secret', 'the-new-secret'), NOW)).toMatchObject({ authentic: true });
    }
    expect(authenticate(signedWithNew, secrets('the-new-secret'), NOW)).toMatchObject({ authentic: true });
    expect(authenticate(signedWithOld, secrets('the-new-secret'), NOW)).toEqual(REFUSED);
    expect(authenticate(litellmWithOld, secrets('the-new-secret'), NOW)).toEqual(REFUSED);
  });

  test('that begins with whsec_ is base64 after it, as the standard library has it', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 8, maxLength: 64 }), (bytes) => {
        const secret = `whsec_${Buffer.from(bytes).toString('base64')}`;
        expect(authenticate(request(standardHeaders({ secret })), secrets(secret), NOW)).toMatchObject({ authentic: true });
        const ofLiteLLM = createHmac('sha256', bytes).update(ALERT).digest('hex');
        expect(authenticate(request({ 'x-litellm-signature': [`sha256=${ofLiteLLM}`] }), secrets(secret), NOW)).toMatchObject({
          authentic: true,
        });
      }),
    );
  });

  test('that begins with whsec_ is not its letters', () => {
    const secret = `whsec_${Buffer.alloc(24, 7).toString('base64')}`;
    const signature = `sha256=${hex(ALERT, secret)}`;
    expect(authenticate(request({ 'x-litellm-signature': [signature] }), secrets(secret), NOW)).toEqual(REFUSED);
  });

  test('of any other kind is its UTF-8 bytes', () => {
    // Made with Python's hmac module.
    const signature = 'sha256=5027a78da9ab3ee880c05bf93811a68bce58f4209972504eeadc4659bad5a39f';
    expect(authenticate(request({ 'x-litellm-signature': [signature] }), secrets('geheïm-密'), NOW)).toMatchObject({ authentic: true });
  });

  test('is needed: with none, nothing is authentic', () => {
    const none = { hmacSecrets: [], urlTokens: [] };
    expect(authenticate(request(standardHeaders()), none, NOW)).toEqual(REFUSED);
    expect(authenticate(request({ 'x-litellm-signature': [`sha256=${hex(ALERT)}`] }), none, NOW)).toEqual(REFUSED);
    expect(authenticate(request({}, ALERT, ['token']), none, NOW)).toEqual(REFUSED);
    expect(authenticate(request({}), none, NOW)).toEqual(REFUSED);
  });
});

describe('a token in the URL', () => {
  const accepted: AlertSecrets = { hmacSecrets: [SECRET], urlTokens: ['the-old-token', 'the-new-token'] };
  const check = (...tokens: string[]) => authenticate(request({}, ALERT, tokens), accepted, NOW);

  test('is authentic when it is one of those accepted, and gives no delivery id', () => {
    expect(check('the-old-token')).toEqual({ authentic: true, deliveryId: null });
    expect(check('the-new-token')).toEqual({ authentic: true, deliveryId: null });
  });

  test('is refused when any character of it is another', () => {
    fc.assert(
      fc.property(fc.nat(), headerCharacters, (place, character) => {
        const changed = withAnother('the-new-token', place, character);
        fc.pre(changed !== 'the-new-token');
        expect(check(changed)).toEqual(REFUSED);
      }),
    );
  });

  test.each(['', 'the-new-toke', 'the-new-token ', 'the-old-token,the-new-token', 'THE-NEW-TOKEN', 'the-new-token\0'])(
    '%j is refused',
    (token) => {
      expect(check(token)).toEqual(REFUSED);
    },
  );

  test('is refused when it is there twice', () => {
    expect(check('the-new-token', 'the-new-token')).toEqual(REFUSED);
    expect(check('the-new-token', '')).toEqual(REFUSED);
  });

  test('is never an HMAC secret, nor does it sign', () => {
    expect(check(SECRET)).toEqual(REFUSED);
    expect(authenticate(request(standardHeaders({ secret: 'the-new-token' })), accepted, NOW)).toEqual(REFUSED);
  });
});

test('any one of the three suffices, though another is wrong', () => {
  const accepted: AlertSecrets = { hmacSecrets: [SECRET], urlTokens: ['the-new-token'] };
  const wrong = { 'x-litellm-signature': [`sha256=${'0'.repeat(64)}`], 'webhook-signature': ['v1,AAAA'] };
  expect(authenticate(request(wrong, ALERT, ['the-new-token']), accepted, NOW)).toEqual({ authentic: true, deliveryId: null });
  expect(authenticate(request({ ...wrong, ...standardHeaders() }, ALERT, ['wrong']), accepted, NOW)).toEqual({
    authentic: true,
    deliveryId: 'msg_1',
  });
});
