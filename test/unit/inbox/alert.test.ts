import { createHash } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { crossingOf } from '../../../src/domain/crossing.ts';
import { MalformedAlertError, readAlert } from '../../../src/inbox/alert.ts';

const ALERT = { event: 'budget_crossed', event_group: 'team', team_id: 't1', max_budget: 10, spend: 10.000123, soft_budget: null };

const read = (body: string | Buffer, deliveryId: string | null = null) => readAlert(Buffer.from(body as string), deliveryId);

describe('an alert', () => {
  test('becomes an event with its team, its crossing, the digest of its body and the delivery it came by', () => {
    const body = JSON.stringify(ALERT);
    expect(read(body, 'msg_1')).toEqual({
      source: 'webhook',
      eventType: 'budget_crossed',
      teamId: 't1',
      payload: ALERT,
      bodySha256: createHash('sha256').update(body).digest('hex'),
      deliveryId: 'msg_1',
      crossing: crossingOf(ALERT)?.key,
    });
  });

  test('is kept as it came, with fields that nobody knows yet', () => {
    const text = fc.string({ unit: 'grapheme' }).filter((value) => !value.includes('\0'));
    const values = fc.oneof(text, fc.integer(), fc.boolean(), fc.constant(null), fc.array(text));
    const { event: _, ...known } = ALERT;
    fc.assert(
      fc.property(fc.dictionary(text, values), (unknown) => {
        const alert = { ...unknown, ...known, event: 'a_later_event' };
        expect(read(JSON.stringify(alert)).payload).toEqual(JSON.parse(JSON.stringify(alert)));
      }),
    );
  });

  test('has another digest when its body is written differently', () => {
    expect(read(JSON.stringify(ALERT)).bodySha256).not.toBe(read(JSON.stringify(ALERT, null, 1)).bodySha256);
  });

  test('that is not about a team budget has no crossing, and is read all the same', () => {
    expect(read('{"event":"spend_tracked","event_group":"user"}')).toMatchObject({
      eventType: 'spend_tracked',
      teamId: null,
      crossing: null,
    });
  });

  test('about the budget of a key keeps the team that it names', () => {
    expect(read('{"event":"budget_crossed","event_group":"key","team_id":"t1"}')).toMatchObject({ teamId: 't1', crossing: null });
  });

  test.each(['7', 'null', '["t1"]', '{"id":"t1"}'])('whose team is %s names none, where it is not about the budget of a team', (team) => {
    for (const about of ['"event":"budget_crossed","event_group":"key"', '"event":"spend_tracked","event_group":"team"'])
      expect(read(`{${about},"team_id":${team}}`)).toMatchObject({ teamId: null, crossing: null });
  });

  test.each(['null', '0', '-5', '1e308', '1e999', '"ten"', '[]'])('may have %s for a budget: what KMS shows decides', (budget) => {
    const event = read(`{"event":"budget_crossed","event_group":"team","team_id":"t1","max_budget":${budget}}`);
    expect(event.crossing).toMatch(/^[0-9a-f]{64}$/);
  });

  test.each(["t1'; drop table recharge; --", 't1\nt2', '../../t1', '🦄 ťěäm', 'x'.repeat(60_000)])(
    'may have %j for a team: it is only text',
    (team) => {
      expect(read(JSON.stringify({ ...ALERT, team_id: team })).teamId).toBe(team);
    },
  );
});

describe('a body is refused', () => {
  test.each([
    '',
    ' ',
    '{',
    '{"event":"budget_crossed"',
    '{"event":"x"}}',
    "{'event':'x'}",
    'event=budget_crossed',
    '<html></html>',
    '{"event":NaN}',
  ])('that is not JSON: %j', (body) => {
    expect(() => read(body)).toThrow(new MalformedAlertError('the body is not JSON in UTF-8'));
  });

  test.each(['null', '7', '"budget_crossed"', 'true', '[]', '[{"event":"budget_crossed"}]'])('that is not an object: %s', (body) => {
    expect(() => read(body)).toThrow(new MalformedAlertError('the body is not a JSON object'));
  });

  test.each(['{}', '{"event":null}', '{"event":""}', '{"event":7}', '{"event":["budget_crossed"]}', '{"Event":"budget_crossed"}'])(
    'that has no event: %s',
    (body) => {
      expect(() => read(body)).toThrow(new MalformedAlertError('the alert has no "event", a string'));
    },
  );

  test.each(['"team_id":7', '"team_id":null', '"team_id":["t1"]', '"team_id":""', '"team":"t1"'])(
    'that is about the budget of a team and does not say which: %s',
    (team) => {
      for (const event of ['budget_crossed', 'threshold_crossed', 'soft_budget_crossed', 'projected_limit_exceeded', 'max_budget_alert'])
        expect(() => read(`{"event":"${event}","event_group":"team",${team}}`)).toThrow(
          new MalformedAlertError('the alert is about the budget of a team and has no "team_id", a string'),
        );
    },
  );

  test.each([
    ['a byte that begins nothing', [0xff]],
    ['a character cut short', [0xc3]],
    ['an overlong slash', [0xc0, 0xaf]],
    ['half a surrogate pair', [0xed, 0xa0, 0x80]],
  ])('that is not UTF-8: %s', (_, bytes) => {
    const body = Buffer.concat([Buffer.from('{"event":"'), Buffer.from(bytes), Buffer.from('"}')]);
    expect(() => read(body)).toThrow(new MalformedAlertError('the body is not JSON in UTF-8'));
  });

  test.each([
    ['NUL in a value', '{"event":"x","a":"b\\u0000"}'],
    ['NUL in a name', '{"event":"x","a\\u0000":1}'],
    ['NUL deep inside', '{"event":"x","a":[{"b":["\\u0000"]}]}'],
    ['half a surrogate pair in a value', '{"event":"x","a":"\\ud800"}'],
    ['half a surrogate pair in a name', '{"event":"x","\\udfff":1}'],
    ['NUL in the event', '{"event":"\\u0000"}'],
  ])('that PostgreSQL cannot hold: %s', (_, body) => {
    expect(() => read(body)).toThrow(/not Unicode text/);
  });

  test('that is nested deeper than 32 levels, though 32 are read', () => {
    const nested = (levels: number) => `{"event":"x","a":${'['.repeat(levels - 1)}1${']'.repeat(levels - 1)}}`;
    expect(read(nested(32)).eventType).toBe('x');
    expect(() => read(nested(33))).toThrow(/nested deeper/);
  });

  test('without running out of stack, when all its 64 KiB are brackets', () => {
    const half = 32 * 1024 - 10;
    expect(() => read(`{"event":"x","a":${'['.repeat(half)}${']'.repeat(half)}}`)).toThrow(MalformedAlertError);
    expect(() => read('['.repeat(64 * 1024))).toThrow(MalformedAlertError);
  });
});

describe('names that mean something to JavaScript', () => {
  test('change no object but are kept', () => {
    const { payload } = read('{"event":"x","__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}');
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
    expect(Object.keys(payload)).toEqual(['event', '__proto__', 'constructor']);
  });

  test('lend an alert no event', () => {
    expect(() => read('{"__proto__":{"event":"budget_crossed","event_group":"team","team_id":"t1"}}')).toThrow(/no "event"/);
  });
});

test('of a name that is there twice the last counts, for team and crossing alike', () => {
  const event = read('{"event":"budget_crossed","event_group":"team","team_id":"t1","team_id":"t2","max_budget":10}');
  expect(event.teamId).toBe('t2');
  expect(event.crossing).toBe(crossingOf({ ...ALERT, team_id: 't2' })?.key);
});
