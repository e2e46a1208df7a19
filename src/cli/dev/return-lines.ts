/** Lines of the timeline for money that goes back, the quota that follows it, and what stops charges. */
import type { Hold, Reversal } from '../../database/entities.ts';
import { endedBy } from '../../domain/hold.ts';
import { moneyText, type QuotaMicros } from '../../domain/money.ts';
import { cents } from '../units.ts';

/** `key`: it is printed once. */
export type KeyedLine = { key: string; at: Date; organization: string; step: string; text: string };

/** What has become of a reversal so far. */
export function reversalLines(reversal: Reversal): KeyedLine[] {
  const { id, kind, status, organizationId: organization, rechargeId, createdAt, updatedAt } = reversal;
  const amount = moneyText(reversal.amountMinor, reversal.currency);
  const begun = { key: `${id} begun`, at: createdAt, organization, step: kind, text: `${id} takes ${amount} of ${rechargeId} back` };
  const reached = { key: `${id} ${status}`, at: updatedAt, organization };
  switch (status) {
    case 'open':
      return [begun];
    case 'taken_back':
      return [begun, { ...reached, step: 'taken back', text: taken(reversal) }];
    case 'given_back':
      return [begun, { ...reached, step: 'given back', text: `${id}: ${amount} has come back; ${given(reversal)}` }];
    case 'needs_attention':
      return [begun, { ...reached, step: status, text: `${id}: ${reversal.failureMessage}` }];
  }
}

function taken({ quota, takenBefore, takenAfter }: Reversal): string {
  if (quota === 0) return 'there is no quota to take back';
  return isNumber(takenBefore) && isNumber(takenAfter)
    ? `quota lowered from ${cents(takenBefore)} to ${cents(takenAfter)}`
    : 'the quota is gone';
}

function given({ givenBefore, givenAfter }: Reversal): string {
  if (isNumber(givenBefore) && isNumber(givenAfter)) return `quota raised from ${cents(givenBefore)} to ${cents(givenAfter)}`;
  return 'no quota was taken for it';
}

/** When a hold was opened, and when it ended. */
export function holdLines(hold: Hold): KeyedLine[] {
  const { id, scope, reason, detail, organizationId, since, until, releasedAt, releasedBy } = hold;
  const organization = organizationId ?? scope;
  const end = until === null || until === undefined ? endedBy(hold) : `until ${until.toISOString()}`;
  const opened = { key: `${id} opened`, at: since, organization, step: 'held', text: `${reason}: ${detail}; ${end} (${id})` };
  if (!releasedAt) return [opened];
  return [opened, { key: `${id} released`, at: releasedAt, organization, step: 'released', text: `${reason}, by ${releasedBy} (${id})` }];
}

function isNumber(quota: QuotaMicros | null | undefined): quota is QuotaMicros {
  return typeof quota === 'number';
}
