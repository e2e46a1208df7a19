import { describe, expect, test } from '@jest/globals';
import { pauseAfter } from '../../../src/domain/attempts.ts';
import { SPEND_WINDOW_MS } from '../../../src/domain/forecast.ts';
import { DELIVERY_DAYS } from '../../../src/domain/outbound-event.ts';
import { EXPIRING_TABLES, RETENTION } from '../../../src/domain/retention.ts';

const DAY_MS = 24 * 60 * 60_000;

describe('what lasts for a time', () => {
  test('is what is told here, and nothing of the books', () => {
    expect(EXPIRING_TABLES).toEqual(['webhook_event', 'outbound_event', 'stripe_event', 'balance_sample', 'sync_run', 'litellm_team']);
  });

  test('lasts longer than any rule looks back, or any sender or receiver tries again', () => {
    const longestPause = pauseAfter(Number.MAX_SAFE_INTEGER);
    expect(RETENTION.webhook_event.days * DAY_MS).toBeGreaterThan(12 * longestPause);
    expect(RETENTION.outbound_event.days).toBeGreaterThan(DELIVERY_DAYS);
    expect(RETENTION.stripe_event.days).toBeGreaterThan(30);
    expect(RETENTION.balance_sample.days * DAY_MS).toBeGreaterThan(SPEND_WINDOW_MS);
  });

  test.each(EXPIRING_TABLES)('%s has its reason', (table) => {
    expect(RETENTION[table].because).toMatch(/\w+ \w+/);
  });
});
