import { describe, expect, test } from '@jest/globals';
import { defaultPayloadConverter } from '@temporalio/common';
import { SUMMARY_LIMIT_BYTES, shortSummary } from '../../../src/domain/short-summary.ts';

/** Tags and lengths of the two fields and of the one entry of the metadata. */
const FRAMING_BYTES = 12;

/** As Temporal measures it. */
function sizeOf(summary: string): number {
  const { data, metadata } = defaultPayloadConverter.toPayload(summary);
  const entries = Object.entries(metadata ?? {}).map(([key, value]) => key.length + value.length);
  return (data?.length ?? 0) + entries.reduce((sum, bytes) => sum + bytes, 0) + FRAMING_BYTES;
}

describe('a summary', () => {
  test.each(['', 'raise the budget of acme', '企业'.repeat(50), 'a'.repeat(300)])('that is short stays as it is: %s', (text) => {
    expect(shortSummary(text)).toBe(text);
  });

  test.each([
    ['ASCII', 'a'],
    ['Greek', 'λ'],
    ['Chinese', '企'],
    ['emoji', '🚀'],
    ['the first of two bytes', '\u0080'],
    ['the first of three bytes', '\u0800'],
    ['the first of four bytes', '\u{10000}'],
    ['quotes', '"'],
    ['control characters', '\u0001'],
    ['halves of surrogate pairs', '\ud83d'],
  ])('that is long fits into what Temporal takes, and is cut between two characters: %s', (_name, character) => {
    const short = shortSummary(character.repeat(2_000));
    expect(sizeOf(short)).toBeLessThanOrEqual(SUMMARY_LIMIT_BYTES);
    expect(sizeOf(short)).toBeGreaterThan(SUMMARY_LIMIT_BYTES - 80);
    expect(short.slice(0, -1).replaceAll(character, '')).toBe('');
    expect(short.at(-1)).toBe('…');
  });
});
