/** An operator who looks for a command by another name than it has here is told the right one, and not one that is spelled like it. */
import { expect, test } from '@jest/globals';
import { withWhatIsMeant } from '../../../src/cli/unknown-command.ts';

test('refund is no command of its own: what refunds is said', () => {
  const said = withWhatIsMeant("error: unknown command 'refund'\n(Did you mean resend?)\n");
  expect(said).toMatch(/^error: unknown command 'refund': bill resolve RECHARGE --refund "reason"[^\n]*\n$/);
  expect(said).not.toContain('resend');
});

test.each(["error: unknown command 'recharge'\n", "error: unknown command 'recharge'\n(Did you mean recharges?)\n"])('%j', (said) => {
  expect(withWhatIsMeant(said)).toContain('bill webhook send --team TEAM');
});

test.each(["error: unknown command 'evnts'\n(Did you mean events?)\n", "error: required option '--team <id>' not specified\n", ''])(
  'anything else stays as it is: %j',
  (said) => {
    expect(withWhatIsMeant(said)).toBe(said);
  },
);
