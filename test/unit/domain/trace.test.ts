/** The place in a trace, as W3C writes it and as Temporal hands it on. */
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { readTraceparent, spanOfRun, subjectOfRun, TRACE_HEADER, writeTraceparent } from '../../../src/domain/trace.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const SPAN = '00f067aa0ba902b7';
const NO_TRACE = '0'.repeat(32);
const NO_SPAN = '0'.repeat(16);

test.each<[string, string | null | undefined]>([
  ['of ours', `00-${TRACE}-${SPAN}-01`],
  ['of a version to come, with more behind it', `01-${TRACE}-${SPAN}-01-more`],
])('a traceparent %s is read', (_what, text) => {
  expect(readTraceparent(text)).toEqual({ traceId: TRACE, spanId: SPAN, flags: 1 });
});

test.each<[string, string | null | undefined]>([
  ['nothing', undefined],
  ['null', null],
  ['an empty text', ''],
  ['a trace of zeros', `00-${NO_TRACE}-${SPAN}-01`],
  ['a span of zeros', `00-${TRACE}-${NO_SPAN}-01`],
  ['the version that there is never', `ff-${TRACE}-${SPAN}-01`],
  ['a version that is none', `0g-${TRACE}-${SPAN}-01`],
  ['something before it', ` 00-${TRACE}-${SPAN}-01`],
  ['a trace that is too short', `00-${TRACE.slice(1)}-${SPAN}-01`],
  ['a trace that is no number', `00-${TRACE.replace('4', 'g')}-${SPAN}-01`],
  ['a span that is no number', `00-${TRACE}-${SPAN.replace('0', 'g')}-01`],
  ['a span that is too long', `00-${TRACE}-${SPAN}0-01`],
  ['flags that are no number', `00-${TRACE}-${SPAN}-0g`],
  ['flags that are too long', `00-${TRACE}-${SPAN}-011`],
])('%s is no traceparent', (_what, text) => {
  expect(readTraceparent(text)).toBeUndefined();
});

test('a place is read where it was written', () => {
  const hex = (length: number) => fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: length, maxLength: length });
  const place = fc.record({ traceId: hex(32), spanId: hex(16), flags: fc.integer({ min: 0, max: 255 }) });
  fc.assert(
    fc.property(place, (written) => {
      fc.pre(/[^0]/.test(written.traceId) && /[^0]/.test(written.spanId));
      expect(readTraceparent(writeTraceparent(written))).toEqual(written);
    }),
  );
});

test('flags are written in two digits, and read again', () => {
  expect(writeTraceparent({ traceId: TRACE, spanId: SPAN, flags: 1 })).toBe(`00-${TRACE}-${SPAN}-01`);
  expect(writeTraceparent({ traceId: TRACE, spanId: SPAN, flags: 255 })).toBe(`00-${TRACE}-${SPAN}-ff`);
  expect(readTraceparent(`00-${TRACE}-${SPAN}-1a`)?.flags).toBe(26);
});

test('a run names its span by the end of its id, on whichever worker', () => {
  expect(spanOfRun('0193f0c2-b7d8-7c1a-a4a6-e1f0f2b1c9d3')).toBe('a4a6e1f0f2b1c9d3');
});

test.each<[string, Record<string, string>]>([
  ['recharge/acme/evt_1', { 'bill.organization_id': 'acme', 'bill.event_id': 'evt_1' }],
  ['reversal/rch_1', { 'bill.recharge_id': 'rch_1' }],
  ['recharge/acme', {}],
  ['recharge//evt_1', {}],
  ['recharge', {}],
  ['reversal', {}],
  ['reversal/', {}],
  ['team-sync/syn_1/more', {}],
  ['', {}],
])('a run says by its id what it works for: %j', (workflowId, subject) => {
  expect(subjectOfRun(workflowId)).toEqual(subject);
});

test("the header is the one of Temporal's own interceptors", () => {
  expect(TRACE_HEADER).toBe('_tracer-data');
});
