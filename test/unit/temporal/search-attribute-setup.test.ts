import { describe, expect, test } from '@jest/globals';
import type { Client } from '@temporalio/client';
import { lackingSearchAttributes, registerSearchAttributes } from '../../../src/temporal/search-attribute-setup.ts';

const KEYWORD = 2;
const INT = 3;
const ALL = { OrganizationId: KEYWORD, LiteLLMTeamId: KEYWORD, RechargeStatus: KEYWORD, RechargeSource: KEYWORD, AmountMinor: INT };

/** As the client throws what Temporal answers. */
function refusal(code: number, details: string): Error {
  return Object.assign(new Error(`${code}: ${details}`), { code, details, metadata: {} });
}

const DENIED = refusal(7, 'Request unauthorized.');

/** A namespace with these search attributes, that refuses what it is told to. */
function namespaceWith(customAttributes: Record<string, number>, refused: { list?: Error; add?: Error } = {}): Client {
  const operatorService = {
    listSearchAttributes: async () => {
      if (refused.list) throw refused.list;
      return { customAttributes };
    },
    addSearchAttributes: async ({ searchAttributes }: { searchAttributes: Record<string, number> }) => {
      if (refused.add) throw refused.add;
      Object.assign(customAttributes, searchAttributes);
    },
  };
  return { connection: { operatorService } } as unknown as Client;
}

test('what is missing is made, with its type', async () => {
  const attributes: Record<string, number> = { OrganizationId: KEYWORD };
  const { added, lacking } = await registerSearchAttributes(namespaceWith(attributes), 'ours');
  expect(added).toEqual(['LiteLLMTeamId', 'RechargeStatus', 'RechargeSource', 'AmountMinor']);
  expect(lacking).toEqual([]);
  expect(attributes).toEqual(ALL);
});

test('one of another type is named with both, and the others are made', async () => {
  const attributes: Record<string, number> = { AmountMinor: 1, Ours: KEYWORD };
  const { added, lacking } = await registerSearchAttributes(namespaceWith(attributes), 'ours');
  expect(added).toHaveLength(4);
  expect(lacking).toEqual([{ name: 'AmountMinor', why: 'is Text, not Int' }]);
});

describe('a namespace that does not let us', () => {
  test('make any: each is named with what it says', async () => {
    const { added, lacking } = await registerSearchAttributes(namespaceWith({ OrganizationId: KEYWORD }, { add: DENIED }), 'ours');
    expect(added).toEqual([]);
    expect(lacking.map(({ name }) => name)).toEqual(['LiteLLMTeamId', 'RechargeStatus', 'RechargeSource', 'AmountMinor']);
    expect(lacking[0]?.why).toBe('is missing and cannot be made: Request unauthorized.');
  });

  test('look: it is asked for nothing more', async () => {
    const hidden = namespaceWith({}, { list: DENIED });
    expect(await registerSearchAttributes(hidden, 'ours')).toEqual({ added: [], lacking: [], refusal: 'Request unauthorized.' });
    expect(await lackingSearchAttributes(hidden, 'ours')).toEqual({ lacking: [], refusal: 'Request unauthorized.' });
  });
});

test('two at once: what the other has made is neither added nor lacking', async () => {
  const other = namespaceWith({}, { add: refusal(6, 'Search attribute AmountMinor already exists.') });
  expect(await registerSearchAttributes(other, 'ours')).toEqual({ added: [], lacking: [] });
});

test('a Temporal that cannot be reached is no refusal', async () => {
  const unavailable = refusal(14, 'No connection established');
  await expect(registerSearchAttributes(namespaceWith({}, { list: unavailable }), 'ours')).rejects.toBe(unavailable);
  await expect(registerSearchAttributes(namespaceWith({}, { add: unavailable }), 'ours')).rejects.toBe(unavailable);
});
