/**
 * The body of what is posted to LiteLLM's webhook: what can be read is kept as it came, what cannot is
 * refused, and neither does harm.
 */
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { alertBody } from '../support/alerts.ts';
import { RECHARGED } from '../support/books.ts';
import { expectChargedOnce } from '../support/expectations.ts';
import { bodyFor, type Headers, type Heard, JSON_TYPE, standardHeaders, WebhookScene, WITH_TOKEN } from '../support/webhook-scene.ts';
import type { Organization, World } from '../support/world.ts';

/** A request may take ten seconds: whoever is cut off has had most of them. */
const PATIENCE_MS = 5_000;

let scene: WebhookScene;
let world: World;
let victim: Organization;
/** Takes ten seconds, so it is begun first, and looked at when its turn comes. */
let slowSenders: Promise<Heard[]>;

beforeAll(async () => {
  scene = await WebhookScene.start();
  ({ world, victim } = scene);
  slowSenders = Promise.all([
    scene.talk(`POST ${WITH_TOKEN} HTTP/1.1\r\nHost: bill\r\nContent-Type: application/json\r\n`),
    scene.talk(`POST ${WITH_TOKEN} HTTP/1.1\r\nHost: bill\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"event":`),
  ]);
});
afterAll(async () => {
  await slowSenders; // when only some of the tests were run
  await world.close();
});

describe('the body', () => {
  const refused = (body: string | Buffer, headers: Headers, status: number, kind: string) =>
    scene.expectRefused(scene.post(body, headers, { path: WITH_TOKEN }), status, kind);

  test.each([
    undefined,
    '',
    'text/plain',
    'application/x-www-form-urlencoded',
    'application/json; charset=iso-8859-1',
    'application/jsonp',
  ])('case 13: with Content-Type %j is 415', async (type) => {
    await refused(bodyFor(victim.teamId), type === undefined ? {} : { 'content-type': type }, 415, 'unsupported-media-type');
  });

  test.each(['application/json; charset=utf-8', 'application/json;charset="UTF-8"', 'Application/JSON'])(
    'case 13: with Content-Type %j is read',
    async (type) => {
      const answer = await scene.post(bodyFor('nobody-case-13'), { 'content-type': type }, { path: WITH_TOKEN });
      expect(answer.status).toBe(200);
    },
  );

  test('case 14: over 64 KiB is 413, and 64 KiB is read', async () => {
    const padded = (teamId: string, bytes: number) => {
      const body = bodyFor(teamId, { padding: '' });
      return body.replace('"padding":""', `"padding":"${'x'.repeat(bytes - body.length)}"`);
    };
    await refused(padded(victim.teamId, 64 * 1024 + 1), JSON_TYPE, 413, 'too-large');
    expect((await scene.post(padded('nobody-64-kib', 64 * 1024), JSON_TYPE, { path: WITH_TOKEN })).status).toBe(200);
  });

  test('case 14: in chunks over 64 KiB is 413 like any other', async () => {
    const chunked = { ...JSON_TYPE, 'transfer-encoding': 'chunked' };
    await refused(bodyFor(victim.teamId, { padding: 'x'.repeat(70_000) }), chunked, 413, 'too-large');
  });

  test('case 14: compressed is 415, whatever it would unpack to', async () => {
    const bomb = gzipSync(bodyFor(victim.teamId, { padding: 'x'.repeat(20_000_000) }));
    for (const encoding of ['gzip', 'GZIP', 'deflate', 'br', 'gzip, gzip']) {
      await refused(bomb, { ...JSON_TYPE, 'content-encoding': encoding }, 415, 'unsupported-media-type');
    }
  });

  test('case 14: that never ends is answered 413 as soon as it is too long, and cut off', async () => {
    const chunk = `1000\r\n${'a'.repeat(4096)}\r\n`;
    const heard = await scene.talk(
      `POST ${WITH_TOKEN} HTTP/1.1\r\nHost: bill\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`,
      chunk,
    );
    expect(heard.text).toMatch(/^HTTP\/1\.1 413 /);
    await scene.expectUntouched(victim);
  });

  test('case 14: that announces more than 64 KiB is answered 413 without being waited for', async () => {
    const heard = await scene.talk(
      `POST ${WITH_TOKEN} HTTP/1.1\r\nHost: bill\r\nContent-Type: application/json\r\nContent-Length: 65537\r\n\r\n{`,
    );
    expect(heard.text).toMatch(/^HTTP\/1\.1 413 /);
  });

  test('case 14: of a sender that is too slow, with its headers or with its body, is 408', async () => {
    for (const { text, closedAfterMs } of await slowSenders) {
      expect(text).toMatch(/^HTTP\/1\.1 408 /);
      expect(closedAfterMs).toBeGreaterThan(PATIENCE_MS);
    }
  });

  test('that ends early leaves nothing behind, and the service goes on', async () => {
    const body = bodyFor(victim.teamId);
    await hangUpAfter(
      `POST ${WITH_TOKEN} HTTP/1.1\r\nHost: bill\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body.slice(0, -1)}`,
    );
    expect(await scene.eventsOf(victim.teamId)).toEqual([]);
    await scene.expectUntouched(victim);
  });

  test.each<[string, string | Buffer]>([
    ['nothing', ''],
    ['cut JSON', '{"event":"budget_crossed",'],
    ['a form', 'event=budget_crossed'],
    ['a list', '[{"event":"budget_crossed"}]'],
    ['no event', '{"event_group":"team","team_id":"t1"}'],
    ['an event that is a number', '{"event":7,"event_group":"team"}'],
    ['a NUL, which the database cannot hold', '{"event":"budget_crossed","team_id":"a\\u0000b"}'],
    ['half a surrogate pair', '{"event":"budget_crossed","team_id":"\\ud800"}'],
  ])('that holds %s is 400', async (_what, body) => {
    await refused(body, JSON_TYPE, 400, 'malformed');
  });

  test('case 15: invalid UTF-8 is 400', async () => {
    const body = Buffer.from(bodyFor(victim.teamId));
    body[body.indexOf('acme')] = 0xff;
    await refused(body, JSON_TYPE, 400, 'malformed');
  });

  test('case 15: nested as deep as 64 KiB go is 400', async () => {
    const depth = 32_000;
    await refused(
      `{"event":"budget_crossed","team_id":"${victim.teamId}","a":${'['.repeat(depth)}${']'.repeat(depth)}}`,
      JSON_TYPE,
      400,
      'malformed',
    );
  });

  test('case 15: with __proto__ changes no object, lends no field, and is stored as it came', async () => {
    const lending = `{"__proto__":{"event":"budget_crossed","event_group":"team","team_id":"${victim.teamId}"},"constructor":{"prototype":{"a":1}}}`;
    await refused(lending, JSON_TYPE, 400, 'malformed');
    const body = bodyFor('nobody-proto').replace('{', '{"__proto__":{"team_id":"polluted"},');
    expect((await scene.post(body, JSON_TYPE, { path: WITH_TOKEN })).status).toBe(200);
    expect(({} as Record<string, unknown>)['team_id']).toBeUndefined();
    const { rows } = await world.sql.query(`select payload->'__proto__' as proto from webhook_event where team_id = 'nobody-proto'`);
    expect(rows).toEqual([{ proto: { team_id: 'polluted' } }]);
  });

  test('case 15: with a field twice is about the last of the two', async () => {
    const body = bodyFor('nobody-last').replace('{', `{"team_id":"${victim.teamId}",`);
    expect(await scene.post(body, JSON_TYPE, { path: WITH_TOKEN })).toMatchObject({ status: 200, body: { status: 'accepted' } });
    expect(await scene.eventsOf('nobody-last')).toMatchObject([{ outcome: 'unknown_team' }]);
    await scene.expectUntouched(victim);
  });

  test('with a webhook-id that no index can hold is 400', async () => {
    const body = bodyFor(victim.teamId);
    await scene.expectRefused(scene.post(body, standardHeaders(body, { id: randomBytes(4000).toString('hex') })), 400, 'malformed');
  });
});

describe('case 18: a team id is only text', () => {
  const STRANGE_IDS: [string, string][] = [
    ['SQL', "'; drop table webhook_event; --"],
    ['SQL behind a backslash', "\\'; delete from organization_balance_config where ''='"],
    ['placeholders', '$1 ? ?? :name %s {{7*7}} $(id) `id`'],
    ['new lines and a terminal code', 'two\r\nlines\tand\u001b[31m a colour'],
    ['Unicode', '🦄 ťěäm \u202e\u0301 ﷽'],
    ['a path', '../../../etc/passwd'],
    ['a blank', ' '],
    ['60 KB of one letter', 'x'.repeat(60_000)],
    ['50 KB that cannot be compressed', randomBytes(25_000).toString('hex')],
  ];

  test.each(STRANGE_IDS)('%s: stored as it is, and does nothing', async (_what, teamId) => {
    const tables = await tableCounts();
    const { status, data } = await world.alert(teamId);
    expect([status, data.status]).toEqual([200, 'accepted']);
    expect(await scene.eventsOf(teamId)).toMatchObject([
      { id: data.event_id, team_id: teamId, outcome: 'unknown_team', payload: alertBody(teamId) },
    ]);
    expect(await tableCounts()).toEqual({ ...tables, webhook_event: (tables['webhook_event'] as number) + 1 });
  });

  test('a team that is really called so is recharged like any other', async () => {
    const organization = await world.organization({ teamId: 'T\'eam 🦄\n"; drop table recharge; -- $1 ?' });
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  async function tableCounts(): Promise<Record<string, number>> {
    const { rows } = await world.sql.query(
      `select (select count(*)::int from organization_balance_config) as organization_balance_config,
         (select count(*)::int from webhook_event) as webhook_event, (select count(*)::int from recharge) as recharge`,
    );
    return rows[0];
  }
});

test('a URL that is none, in the request line, is no mistake of the service', async () => {
  const heard = await scene.talk(
    `POST http://bill:99999999${WITH_TOKEN} HTTP/1.1\r\nHost: bill\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}`,
  );
  expect(heard.text).toMatch(/^HTTP\/1\.1 400 /);
});

/** Sends this much, says that it is all, and waits until the service has closed the connection. */
function hangUpAfter(text: string): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(Number(new URL(world.apiUrl).port), '127.0.0.1');
    socket.on('error', () => {});
    socket.on('close', () => resolve());
    socket.resume();
    socket.end(text);
  });
}
