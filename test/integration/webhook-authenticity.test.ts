/** Who is believed of those that post to LiteLLM's webhook, and that no secret of theirs is logged. */
import { createHmac, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { HMAC_SECRET, URL_TOKEN } from '../support/alerts.ts';
import {
  bodyFor,
  type Headers,
  hexSignature,
  JSON_TYPE,
  litellmHeaders,
  messageId,
  PATH,
  problem,
  seconds,
  standardHeaders,
  TOLERANCE_S,
  WebhookScene,
  WITH_TOKEN,
} from '../support/webhook-scene.ts';
import { ADMIN_API_KEY, type Organization, type World } from '../support/world.ts';

/** The second of the accepted secrets, written as Standard Webhooks has it. */
const NEW_KEY = randomBytes(24);
const NEW_SECRET = `whsec_${NEW_KEY.toString('base64')}`;
const WRONG_TOKEN = 'wrong-guess-of-a-token';

const logLines: string[] = [];
let scene: WebhookScene;
let world: World;
let victim: Organization;

beforeAll(async () => {
  scene = await WebhookScene.start(
    { LOG_LEVEL: 'trace', WEBHOOK_HMAC_SECRETS: `${HMAC_SECRET},${NEW_SECRET}` },
    { write: (line: string) => void logLines.push(line) },
  );
  ({ world, victim } = scene);
});
afterAll(() => world.close());

/** Standard Webhooks around a timestamp that is any text. */
function standardHeadersAt(body: string, timestamp: string): Headers {
  const signature = createHmac('sha256', HMAC_SECRET).update(`msg_1.${timestamp}.${body}`).digest('base64');
  return { ...JSON_TYPE, 'webhook-id': 'msg_1', 'webhook-timestamp': timestamp, 'webhook-signature': `v1,${signature}` };
}

describe('an authentic alert', () => {
  test.each<[string, (body: string) => [Headers, string]]>([
    ['as a Standard Webhook', (body) => [standardHeaders(body), PATH]],
    ["in LiteLLM's header", (body) => [litellmHeaders(body), PATH]],
    ["in LiteLLM's header, with a timestamp", (body) => [litellmHeaders(body, String(seconds())), PATH]],
    ['by the token in the URL', () => [JSON_TYPE, WITH_TOKEN]],
    ['by the second of two tokens of the list', () => [JSON_TYPE, `${PATH}?other=1&token=${encodeURIComponent(URL_TOKEN)}`]],
    ['by the token although its signature is wrong', (body) => [{ ...standardHeaders(body), 'webhook-id': 'other' }, WITH_TOKEN]],
  ])('may be authenticated %s', async (_way, authenticated) => {
    const body = bodyFor(`nobody-${randomBytes(4).toString('hex')}`);
    const [headers, path] = authenticated(body);
    expect(await scene.post(body, headers, { path })).toMatchObject({ status: 200, body: { status: 'accepted' } });
  });
});

describe('an alert that is not authentic is answered 401, stored nowhere, and charges nothing', () => {
  const refused = (body: string | Buffer, headers: Headers, path = PATH) =>
    scene.expectRefused(scene.post(body, headers, { path }), 401, 'unauthenticated');

  test('case 2: a flipped bit anywhere in the body', async () => {
    const body = bodyFor(victim.teamId);
    for (const at of [0, 5, Math.floor(body.length / 2), body.length - 1]) {
      const flipped = Buffer.from(body);
      flipped[at] = (flipped[at] ?? 0) ^ 1;
      for (const headers of [standardHeaders(body), litellmHeaders(body)]) await refused(flipped, headers);
    }
  });

  test('case 2: the same JSON written another way', async () => {
    const body = bodyFor(victim.teamId);
    for (const rewritten of [JSON.stringify(JSON.parse(body), null, 1), `${body}\n`, ` ${body}`, body.replace('"u1"', '"\\u00751"')]) {
      for (const headers of [standardHeaders(body), litellmHeaders(body)]) await refused(rewritten, headers);
    }
  });

  test.each<[string, (headers: Headers) => Headers]>([
    ['none at all', () => JSON_TYPE],
    ['no id', ({ 'webhook-id': _, ...rest }) => rest],
    ['no timestamp', ({ 'webhook-timestamp': _, ...rest }) => rest],
    ['no signature', ({ 'webhook-signature': _, ...rest }) => rest],
    ['an empty signature', (headers) => ({ ...headers, 'webhook-signature': '' })],
    ['only the version', (headers) => ({ ...headers, 'webhook-signature': 'v1,' })],
    [
      'the version alone is another',
      (headers) => ({ ...headers, 'webhook-signature': String(headers['webhook-signature']).replace('v1', 'v2') }),
    ],
    ['the right one twice', (headers) => ({ ...headers, 'webhook-signature': Array(2).fill(headers['webhook-signature']) })],
    [
      'a wrong one before the right one, each in its header',
      (headers) => ({ ...headers, 'webhook-signature': ['v1,AAAA', String(headers['webhook-signature'])] }),
    ],
    ['joined to a wrong one by a comma', (headers) => ({ ...headers, 'webhook-signature': `v1,AAAA,${headers['webhook-signature']}` })],
    ['followed by commas', (headers) => ({ ...headers, 'webhook-signature': `${headers['webhook-signature']},,,` })],
    ['the id twice', (headers) => ({ ...headers, 'webhook-id': Array(2).fill(headers['webhook-id']) })],
    ['another id', (headers) => ({ ...headers, 'webhook-id': 'msg_another' })],
  ])('case 3: Standard Webhooks with a signature that is missing, empty, repeated or stuffed: %s', async (_what, changed) => {
    const body = bodyFor(victim.teamId);
    await refused(body, changed(standardHeaders(body)));
  });

  test.each<[string, (right: string) => string | string[]]>([
    ['empty', () => ''],
    ['without its scheme', (right) => right],
    ['of another scheme', (right) => `sha512=${right}`],
    ['twice', (right) => [`sha256=${right}`, `sha256=${right}`]],
    ['stuffed with a comma', (right) => `sha256=${right},sha256=${right}`],
  ])("case 3: LiteLLM's signature %s", async (_what, signature) => {
    const body = bodyFor(victim.teamId);
    await refused(body, { ...JSON_TYPE, 'x-litellm-signature': signature(hexSignature(body)) });
  });

  test.each<[string, (right: string) => string]>([
    ['a digit short', (right) => right.slice(0, -1)],
    ['a digit long', (right) => `${right}0`],
    ['with a letter that is not hex', (right) => `${right.slice(0, -1)}g`],
    ['all zeros', () => '0'.repeat(64)],
  ])('case 4: a signature %s', async (_what, changed) => {
    const body = bodyFor(victim.teamId);
    await refused(body, { ...JSON_TYPE, 'x-litellm-signature': `sha256=${changed(hexSignature(body))}` });
  });

  test('case 4: but hex in upper case is the same signature', async () => {
    const body = bodyFor('nobody-upper-case');
    const headers = { ...JSON_TYPE, 'x-litellm-signature': `sha256=${hexSignature(body).toUpperCase()}` };
    expect((await scene.post(body, headers)).status).toBe(200);
  });

  test('case 5: a timestamp that is older than five minutes, though one that is nearly as old is taken', async () => {
    const old = seconds() - TOLERANCE_S - 10;
    const body = bodyFor(victim.teamId);
    await refused(body, standardHeaders(body, { at: old }));
    await refused(body, litellmHeaders(body, String(old)));
    const fresh = bodyFor('nobody-nearly-old');
    expect((await scene.post(fresh, standardHeaders(fresh, { at: seconds() - TOLERANCE_S + 20 }))).status).toBe(200);
    expect((await scene.post(fresh, litellmHeaders(fresh, String(seconds() - TOLERANCE_S + 20)))).status).toBe(200);
  });

  test.each<[string, () => string]>([
    ['far in the future', () => String(seconds() + TOLERANCE_S + 10)],
    ['that is NaN', () => 'NaN'],
    ['below zero', () => String(-seconds())],
    ['in milliseconds', () => String(Date.now())],
    ['with a fraction', () => `${seconds()}.5`],
    ['in exponents', () => '1e300'],
    ['that is a date', () => new Date().toISOString()],
    ['that is empty', () => ''],
  ])('case 6: a timestamp %s', async (_what, timestamp) => {
    const body = bodyFor(victim.teamId);
    await refused(body, standardHeadersAt(body, timestamp()));
    await refused(body, litellmHeaders(body, timestamp()));
  });

  test('case 12: a secret that was never one of ours', async () => {
    const body = bodyFor(victim.teamId);
    await refused(body, standardHeaders(body, { secret: 'somebody-elses-secret' }));
  });

  test.each(['', 'short', WRONG_TOKEN, `${URL_TOKEN}x`, URL_TOKEN.toUpperCase(), `${URL_TOKEN}&token=${URL_TOKEN}`])(
    'a URL token that is %j',
    async (token) => {
      await refused(bodyFor(victim.teamId), JSON_TYPE, `${PATH}?token=${token}`);
    },
  );

  test('the admin key, which is for operators only', async () => {
    await refused(bodyFor(victim.teamId), { ...JSON_TYPE, authorization: `Bearer ${ADMIN_API_KEY}` });
  });
});

describe('case 12: rotation of the secret', () => {
  const signedWithNewKey = (body: string): Headers => {
    const [id, at] = [messageId(), seconds()];
    const signature = `v1,${createHmac('sha256', NEW_KEY).update(`${id}.${at}.${body}`).digest('base64')}`;
    return { ...JSON_TYPE, 'webhook-id': id, 'webhook-timestamp': String(at), 'webhook-signature': signature };
  };

  test('the old and the new one are accepted side by side, and so is a message that is signed with both', async () => {
    const body = bodyFor('nobody-rotating');
    const renewed = signedWithNewKey(body);
    expect((await scene.post(body, standardHeaders(body))).status).toBe(200);
    expect((await scene.post(body, renewed)).status).toBe(200);
    const both = { ...renewed, 'webhook-signature': `v1,AAAA ${renewed['webhook-signature']}` };
    expect((await scene.post(body, both)).status).toBe(200);
  });

  test('the old one, once removed, is accepted no more', async () => {
    const body = bodyFor('nobody-rotated');
    await world.withAnotherApi({ WEBHOOK_HMAC_SECRETS: NEW_SECRET }, async (url) => {
      expect((await scene.post(body, standardHeaders(body), { url })).status).toBe(401);
      expect((await scene.post(body, signedWithNewKey(body), { url })).status).toBe(200);
    });
  });
});

describe('the log of all that', () => {
  test('tells of requests and mistakes, and never of a secret', async () => {
    await world.sql.query('alter table webhook_event rename to webhook_event_away');
    const body = bodyFor('nobody-unlucky', { user_email: 'somebody@example.com' });
    const answer = await scene
      .post(body, standardHeaders(body), { path: WITH_TOKEN })
      .finally(() => world.sql.query('alter table webhook_event_away rename to webhook_event'));
    expect(answer).toMatchObject(problem(503, 'unavailable'));
    expect(JSON.stringify(answer.body)).not.toMatch(/webhook_event|insert|select/);

    const log = logLines.join('');
    expect(log).toContain('"path":"/webhooks/litellm/limit-exceeded","status":401');
    expect(log).toContain('an event could not be stored');
    const { stripe, kms } = world.config;
    for (const secret of [
      URL_TOKEN,
      WRONG_TOKEN,
      'token=',
      HMAC_SECRET,
      NEW_SECRET,
      ADMIN_API_KEY,
      stripe.secretKey,
      `"${kms.apiKey}"`,
      `Bearer ${kms.apiKey}`,
    ]) {
      expect(logLines.filter((line) => line.includes(secret))).toEqual([]);
    }
  });
});
