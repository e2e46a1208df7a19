/** The fault knobs that every stand-in has, on a server that counts its calls. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { Fault, FaultRequest } from '../../sandbox/faults.ts';
import { type SandboxServer, serveSandbox } from '../../sandbox/http.ts';

let server: SandboxServer;
/** The calls that have had their effect. */
let done: string[] = [];

beforeAll(async () => {
  server = await serveSandbox({
    port: 0,
    handle: ({ path }) => {
      done.push(path);
      return { status: 200, body: { done: path } };
    },
    state: () => ({ done }),
  });
});
afterEach(async () => {
  await administer('DELETE');
  done = [];
});
afterAll(() => server.close());

async function administer(method: 'GET' | 'POST' | 'DELETE', body?: FaultRequest, id = ''): Promise<Fault & { data: Fault[] }> {
  const answer = await fetch(`${server.url}/_sandbox/faults${id && `/${id}`}`, { method, ...(body && { body: JSON.stringify(body) }) });
  return (await answer.json()) as Fault & { data: Fault[] };
}

/** Waits until a fault has struck so often. */
async function struck(id: string, times: number): Promise<void> {
  while ((await administer('GET')).data.find((fault) => fault.id === id)?.struck !== times);
}

const call = (path: string) => fetch(`${server.url}${path}`).then(({ status }) => status);

describe('the body of a knob', () => {
  const turned = async (body: string | FormData) => {
    const answer = await fetch(`${server.url}/_sandbox/teams/acme/spend`, { method: 'POST', body });
    return [answer.status, ((await answer.json()) as { error?: { message: string } }).error?.message];
  };
  const told = (send: string) => [
    400,
    `the body has to be a JSON object and no form: send${send}; docs/stand-ins.md has the fields of each knob`,
  ];

  test('that is a form is answered with the same as JSON', async () => {
    expect(await turned('amount=3.2')).toEqual(told(` -d '{"amount":3.2}'`));
    expect(await turned('status=won&enabled=false')).toEqual(told(` -d '{"status":"won","enabled":false}'`));
    expect(done).toEqual([]);
  });

  test('that is of several parts, or no object, is answered with one that is', async () => {
    const parts = new FormData();
    parts.set('amount', '3.2');
    for (const body of [parts, '{"amount":3', '[1]', 'null', '3'])
      expect(await turned(body)).toEqual(told(`, such as -d '{"amount":3.2}'`));
  });

  test('that is a JSON object, or empty, goes through, and so does any other of a call that is none of a knob', async () => {
    for (const body of ['{}', '{"amount":3.2}', '']) expect(await turned(body)).toEqual([200, undefined]);
    expect((await fetch(`${server.url}/v1/refunds`, { method: 'POST', body: 'amount=3' })).status).toBe(200);
  });
});

describe('a fault that holds', () => {
  test('keeps a call from its effect until it is taken away: what is done meanwhile comes first', async () => {
    const { id } = await administer('POST', { path: '/held', action: { kind: 'hold' } });
    const held = call('/held');
    await struck(id, 1);
    expect(await call('/other')).toBe(200);
    expect(done).toEqual(['/other']);
    await administer('DELETE', undefined, id);
    expect(await held).toBe(200);
    expect(done).toEqual(['/other', '/held']);
  });

  test('after the effect keeps only the answer', async () => {
    const { id } = await administer('POST', { path: '/held', when: 'after', times: 2, action: { kind: 'hold' } });
    const held = [call('/held'), call('/held')];
    await struck(id, 2);
    expect(done).toEqual(['/held', '/held']);
    await administer('DELETE');
    expect(await Promise.all(held)).toEqual([200, 200]);
  });
});

test('one fault is taken away by its id, and the others stand', async () => {
  const broken = { kind: 'respond', status: 503 } as const;
  const one = await administer('POST', { path: '/one', times: 9, action: broken });
  const other = await administer('POST', { path: '/other', times: 9, action: broken });
  expect(await Promise.all([call('/one'), call('/other')])).toEqual([503, 503]);
  expect((await administer('DELETE', undefined, one.id)).data).toMatchObject([{ id: other.id, struck: 1 }]);
  expect(await Promise.all([call('/one'), call('/other')])).toEqual([200, 503]);
});
