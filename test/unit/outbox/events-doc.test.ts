/** docs/events.md has an example of every type of outbound event, and each is one. */
import { readFileSync } from 'node:fs';
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import { OUTBOUND_TYPES, type OutboundType } from '../../../src/domain/outbound-event.ts';
import { OUTBOUND_SCHEMAS } from '../../../src/outbox/schemas.ts';

const text = readFileSync(new URL('../../../docs/events.md', import.meta.url), 'utf8');
const examples = new Map(
  Array.from(text.matchAll(/^### (\w+\.\w+)\n[^#]*?```json\n(.*?)```/gms), ([, type = '', json = '']) => [type, json]),
);

function exampleOf(type: OutboundType) {
  return JSON.parse(examples.get(type) ?? 'null');
}

function schemaOf(type: OutboundType) {
  return OUTBOUND_SCHEMAS.get(type) ?? z.never();
}

test('every type has an example, in the order of the list, and no other has', () => {
  expect([...examples.keys()]).toEqual(OUTBOUND_TYPES);
});

test.each(OUTBOUND_TYPES)('the example of %s is an event of that type', (type) => {
  expect(schemaOf(type).safeParse(exampleOf(type))).toMatchObject({ success: true });
});

test.each(OUTBOUND_TYPES)('the schema of %s knows every field', (type) => {
  const example = exampleOf(type);
  for (const field of Object.keys(example.data)) {
    const { [field]: _, ...rest } = example.data;
    expect([field, schemaOf(type).safeParse({ ...example, data: rest }).success]).toEqual([field, false]);
  }
  expect(schemaOf(type).safeParse({ ...example, data: { ...example.data, more: 1 } }).success).toBe(false);
});

test('whoever has to act is told what to do', () => {
  const acting: OutboundType[] = ['recharge.declined', 'recharge.action_required', 'recharge.needs_attention', 'recharge.overdue'];
  acting.push('hold.opened', 'limit.reached', 'refusal.new', 'reversal.opened', 'drift.detected');
  for (const type of acting) expect(exampleOf(type).data).toHaveProperty('action');
});
