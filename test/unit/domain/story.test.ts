/** What has become of a recharge, as a person reads it: a whole story for each way that one can go. */
import { describe, expect, test } from '@jest/globals';
import { HOLDS } from '../../../src/domain/hold.ts';
import { currency, minorUnits, parseQuota } from '../../../src/domain/money.ts';
import {
  type Hindrance,
  type Story,
  stepText,
  storyOf,
  type ToldEvent,
  type ToldHold,
  type ToldRecharge,
  type ToldReversal,
} from '../../../src/domain/story.ts';

const at = (clock: string) => new Date(`2026-11-27T${clock}Z`);
const stamp = (clock: string) => `2026-11-27T${clock}Z`;
const NOW = at('05:05:00');

const EVENT: ToldEvent = { id: 'evt_1', source: 'litellm', eventType: 'budget_crossed', receivedAt: at('05:00:00') };

const RESERVED = { at: stamp('05:00:01'), status: 'reserved' } as const;
const CHARGING = { at: stamp('05:00:02'), status: 'charging', payment_intent: 'pi_1' } as const;
const CHARGED = { at: stamp('05:00:03'), status: 'charged' } as const;
const SUCCEEDED = { at: stamp('05:00:04'), status: 'succeeded' } as const;

const GRANTED: ToldRecharge = {
  id: 'rch_1',
  status: 'succeeded',
  amountMinor: minorUnits(2_050),
  currency: currency('usd'),
  balanceSeen: parseQuota('-0.5'),
  quotaBefore: parseQuota('10'),
  quotaAfter: parseQuota('30.5'),
  paymentIntentId: 'pi_1',
  timeline: [RESERVED, CHARGING, CHARGED, SUCCEEDED],
};

const reversal = (more: Partial<ToldReversal> = {}): ToldReversal => ({
  id: 'du_1',
  kind: 'dispute',
  status: 'open',
  amountMinor: minorUnits(2_050),
  currency: currency('usd'),
  quota: parseQuota('20.5'),
  takenAt: null,
  createdAt: at('05:01:00'),
  updatedAt: at('05:01:00'),
  ...more,
});

const hold = (more: Partial<ToldHold> = {}): ToldHold => ({
  id: 'hld_1',
  reason: 'disputed',
  detail: 'dispute du_1 of recharge rch_1',
  openedBy: 'du_1',
  since: at('05:00:59'),
  ...more,
});

type Facts = { event?: ToldEvent; reversals?: ToldReversal[]; holds?: ToldHold[]; hindrance?: Hindrance };

function story(changes: Partial<ToldRecharge>, { event, reversals = [], holds = [], hindrance }: Facts = {}): Story {
  return storyOf({ ...GRANTED, ...changes }, { event: event ?? null, reversals, holds, hindrance }, NOW);
}

/** As the terminal shows it. */
function inWords({ summary, next, steps }: Story): string[] {
  return [summary, ...(next ? [`→ ${next}`] : []), ...steps.map((step) => `${step.at.toISOString().slice(11, 19)} ${step.what}`)];
}

const SETTLE = `one of:
bill resolve rch_1 --grant "reason"     # raise the quota by what is held
bill resolve rch_1 --refund "reason"    # give back what is held
bill resolve rch_1 --accept "reason"    # it is right as it is`;

describe('the story of a recharge', () => {
  test('that has raised the budget', () => {
    expect(inWords(story({}, { event: EVENT }))).toEqual([
      '20.50 USD was paid, and the budget raised from 10.00 to 30.50',
      '05:00:00 LiteLLM reported budget_crossed (evt_1)',
      '05:00:01 the balance was -0.50: 20.50 USD was reserved',
      '05:00:02 PaymentIntent pi_1 was made, and the card asked',
      '05:00:03 20.50 USD was captured by pi_1',
      '05:00:04 the budget was raised from 10.00 to 30.50',
    ]);
  });

  test('whose budget is not known, as of one from before that was stored', () => {
    const timeline = [SUCCEEDED];
    expect(inWords(story({ quotaBefore: null, quotaAfter: undefined, timeline }))).toEqual([
      '20.50 USD was paid, and the budget raised from unknown to unknown',
      '05:00:04 the budget was raised from unknown to unknown',
    ]);
  });

  test('whose intent is the one of its step, where another has followed', () => {
    expect(stepText({ ...GRANTED, paymentIntentId: 'pi_2' }, CHARGING)).toBe('PaymentIntent pi_1 was made, and the card asked');
  });

  test('that the sweep has asked for, or that was entered again', () => {
    expect(inWords(story({ timeline: [] }, { event: { ...EVENT, source: 'sweep', eventType: 'low_balance' } }))[1]).toBe(
      '05:00:00 the sweep reported low_balance (evt_1)',
    );
    const restored = { ...EVENT, source: 'manual', eventType: 'restored' };
    const timeline = [{ ...CHARGING, payment_intent: null, restored: 'yes' }];
    expect(inWords(story({ timeline }, { event: restored })).slice(1)).toEqual([
      '05:00:00 it was entered again as evt_1: the database had lost it',
      '05:00:02 PaymentIntent pi_1 was found again',
    ]);
  });

  test('by the time of Stripe, where that is known and can be read', () => {
    const captured = (captured_at: string | number) => story({ timeline: [{ ...CHARGED, captured_at }] }).steps[0]?.at;
    expect(captured(stamp('04:59:30'))).toEqual(at('04:59:30'));
    for (const unreadable of ['yesterday', 7]) expect(captured(unreadable)).toEqual(at('05:00:03'));
  });

  test('that is under way', () => {
    expect(inWords(story({ status: 'reserved', timeline: [RESERVED] }))).toEqual([
      '20.50 USD is under way: reserved',
      '05:00:01 the balance was -0.50: 20.50 USD was reserved',
    ]);
    const processing = { at: stamp('05:00:03'), status: 'processing' } as const;
    expect(inWords(story({ status: 'processing', timeline: [processing] }))).toEqual([
      '20.50 USD is under way: processing',
      '05:00:03 the bank is processing the payment',
    ]);
  });

  test('that fails and is tried again, and that waits for a worker', () => {
    const charged = { status: 'charged', timeline: [CHARGED] } as const;
    const trouble = { step: 'updateKmsQuota', attempts: 2, reason: 'LiteLLM answered 500', nextAt: at('05:06:00') };
    expect(inWords(story(charged, { hindrance: { trouble, stop: null } })).slice(0, 2)).toEqual([
      '20.50 USD is under way: charged; updateKmsQuota has failed 2 times: LiteLLM answered 500',
      '→ it is tried again at 2026-11-27 05:06:00 UTC',
    ]);
    expect(story(charged, { hindrance: { trouble: undefined, stop: 'no worker' } })).toMatchObject({
      summary: '20.50 USD is under way: charged',
      next: 'it goes on when this is put right: no worker',
    });
  });

  test('that has been under way for too long', () => {
    const late = { ...CHARGED, at: stamp('04:50:00') };
    const hindrance = { trouble: undefined, stop: 'no worker' };
    expect(story({ status: 'charged', timeline: [late] }, { hindrance }).next).toBe(`bill doctor; or end it, by ${SETTLE}`);
  });

  test.each(['declined', 'action_required'] as const)('that is %s, in the words of Stripe', (status) => {
    const step = { at: stamp('05:00:03'), status };
    expect(
      inWords(story({ status, failureMessage: 'Your card has insufficient funds.', timeline: [{ ...step, code: 'card_declined' }] })),
    ).toEqual([
      '20.50 USD was not paid: Your card has insufficient funds',
      '05:00:03 the card was not charged: Your card has insufficient funds (card_declined)',
    ]);
    expect(inWords(story({ status, timeline: [step] }))).toEqual([
      `20.50 USD was not paid: ${status}`,
      `05:00:03 the card was not charged: no reason was given (${status})`,
    ]);
    // A stop within a sentence stays.
    expect(story({ status, failureMessage: 'Declined. Try again', timeline: [] }).summary).toBe(
      '20.50 USD was not paid: Declined. Try again',
    );
  });

  test('that was cancelled', () => {
    const step = { at: stamp('05:00:03'), status: 'cancelled' } as const;
    expect(
      inWords(
        story({
          status: 'cancelled',
          failureMessage: 'the limits were lowered',
          timeline: [{ ...step, reason: 'the limits were lowered' }],
        }),
      ),
    ).toEqual(['nothing was charged: the limits were lowered', '05:00:03 nothing was charged: the limits were lowered']);
    expect(inWords(story({ status: 'cancelled', timeline: [step] }))).toEqual([
      'nothing was charged: it was cancelled',
      '05:00:03 nothing was charged: it was cancelled',
    ]);
  });

  test('whose money goes back, and names the refund once Stripe has it', () => {
    const timeline = [{ at: stamp('05:00:05'), status: 'refunding', reason: 'the team is gone' }] as const;
    expect(inWords(story({ status: 'refunding', timeline }))).toEqual([
      '20.50 USD is to go back to the customer, and Stripe has not been asked yet',
      '05:00:05 the money goes back: the team is gone',
    ]);
    expect(story({ status: 'refunding', refundId: 're_1', timeline }).summary).toBe(
      '20.50 USD goes back to the customer by re_1, which Stripe or the bank has not settled yet',
    );
  });

  test('that was refunded, as a whole or in part', () => {
    const step = { at: stamp('05:00:06'), status: 'refunded' } as const;
    const whole = { status: 'refunded', refundId: 're_1', failureMessage: 'the team is gone', timeline: [step] } as const;
    expect(inWords(story(whole))).toEqual([
      '20.50 USD was paid, and refunded by re_1: the team is gone',
      '05:00:06 20.50 USD was refunded by re_1',
    ]);
    const part = { ...whole, failureMessage: null, timeline: [{ ...step, amount: '5.00', refund: 're_2' }] };
    expect(inWords(story(part))).toEqual([
      '20.50 USD was paid, and refunded by re_1: the budget could not be raised',
      '05:00:06 5.00 USD was refunded by re_2',
    ]);
  });

  test('that a person has to settle, and has settled', () => {
    const parked = { at: stamp('05:00:05'), status: 'needs_attention' } as const;
    const waiting = { status: 'needs_attention', failureMessage: 'max_budget is 25.00', timeline: [parked] } as const;
    expect(inWords(story(waiting))).toEqual([
      '20.50 USD waits for a person: max_budget is 25.00',
      `→ ${SETTLE}`,
      '05:00:05 a person has to decide: max_budget is 25.00',
    ]);
    expect(stepText(GRANTED, { ...parked, reason: 'the refund has failed' })).toBe('a person has to decide: the refund has failed');
    const decided = { ...parked, resolution: 'grant', by: 'ada', reason: 'it was checked' };
    expect(stepText(GRANTED, decided)).toBe('ada decided to grant it: it was checked');
    expect(stepText(GRANTED, { ...decided, resolution: 'accept', reversal: 'du_1' })).toBe('ada decided to accept du_1: it was checked');
  });

  test('that a person has settled says what was decided, and no reason or raise that there was none of', () => {
    const decided = { at: stamp('05:00:06'), by: 'ada', reason: 'it was checked' };
    const refund = { ...decided, status: 'refunding', resolution: 'refund' } as const;
    const refunded = { status: 'refunded', refundId: 're_1', timeline: [CHARGED, refund] } as const;
    expect(story(refunded).summary).toBe('20.50 USD was paid, and refunded by re_1, as ada decided: it was checked');
    expect(story({ ...refunded, failureMessage: 'max_budget is 25.00' }).summary).toBe(
      '20.50 USD was paid, and refunded by re_1, as ada decided: it was checked',
    );
    const accept = { ...decided, status: 'succeeded', resolution: 'accept' } as const;
    const accepted = { quotaBefore: null, quotaAfter: null, timeline: [CHARGED, accept] } as const;
    expect(story(accepted).summary).toBe('20.50 USD was paid, and counts as granted, as ada decided: it was checked');
    const ofReversal = { ...accept, reversal: 'du_1' };
    expect(story({ timeline: [SUCCEEDED, ofReversal] }).summary).toBe('20.50 USD was paid, and the budget raised from 10.00 to 30.50');
  });
});

describe('the story of money that goes back elsewhere', () => {
  const taken = { takenAt: at('05:01:02'), takenBefore: parseQuota('30.5'), takenAfter: parseQuota('10') };

  test('from the dispute, whose hold is told behind it, to the quota', () => {
    const facts = { reversals: [reversal({ status: 'taken_back', ...taken, updatedAt: at('05:01:02') })], holds: [hold()] };
    expect(inWords(story({ timeline: [SUCCEEDED] }, facts))).toEqual([
      '20.50 USD was paid, and the budget raised from 10.00 to 30.50; dispute du_1 took money back: its quota has followed',
      `→ hld_1 (disputed) stops further charges; ${HOLDS.disputed.endedBy}: bill release hld_1 "reason"`,
      '05:00:04 the budget was raised from 10.00 to 30.50',
      '05:01:00 dispute du_1: 20.50 USD went back to the customer',
      '05:01:00 hold hld_1 (disputed) began: dispute du_1 of recharge rch_1',
      '05:01:02 du_1: quota was taken, the budget went from 30.50 to 10.00',
    ]);
  });

  test('to the dispute that is won: what was taken stays told', () => {
    const given = { givenBefore: parseQuota('10'), givenAfter: parseQuota('30.5'), updatedAt: at('05:02:00') };
    const ended = hold({ since: at('05:01:01'), releasedAt: at('05:02:00'), releasedBy: 'du_1', releaseReason: 'the dispute is won' });
    expect(
      inWords(story({ timeline: [] }, { reversals: [reversal({ status: 'given_back', ...taken, ...given })], holds: [ended] })),
    ).toEqual([
      '20.50 USD was paid, and the budget raised from 10.00 to 30.50; dispute du_1 took money back: the money has come back, and the quota with it',
      '05:01:00 dispute du_1: 20.50 USD went back to the customer',
      '05:01:01 hold hld_1 (disputed) began: dispute du_1 of recharge rch_1',
      '05:01:02 du_1: quota was taken, the budget went from 30.50 to 10.00',
      '05:02:00 du_1: quota was given back, the budget went from 10.00 to 30.50',
      '05:02:00 hold hld_1 ended, by du_1: the dispute is won',
    ]);
  });

  test('of which nothing was planned, or that is about to follow', () => {
    const open = reversal({ kind: 'refund', id: 're_1' });
    const whole = reversal({ kind: 'refund', id: 're_1', status: 'taken_back', takenAt: at('05:01:02'), takenBefore: null });
    expect(inWords(story({ timeline: [] }, { reversals: [open] }))).toEqual([
      '20.50 USD was paid, and the budget raised from 10.00 to 30.50; refund re_1 took money back: its quota is about to follow',
      '05:01:00 refund re_1: 20.50 USD went back to the customer',
    ]);
    for (const takenBefore of [null, undefined])
      expect(inWords(story({ timeline: [] }, { reversals: [{ ...whole, takenBefore }] })).at(-1)).toBe('05:01:02 re_1: quota was taken');
  });

  test('that a person has to settle: that comes before all else', () => {
    const parked = reversal({ status: 'needs_attention', failureMessage: 'no quota is left', updatedAt: at('05:01:05') });
    const facts = { reversals: [reversal({ id: 're_0', kind: 'refund' }), parked], holds: [hold()] };
    const told = inWords(story({ status: 'needs_attention', failureMessage: 'it was edited', timeline: [] }, facts));
    expect(told.slice(0, 2)).toEqual([
      '20.50 USD waits for a person: it was edited; refund re_0 took money back: its quota is about to follow; dispute du_1 took money back: a person has to decide about its quota',
      '→ bill resolve du_1 --accept "reason", when max_budget in LiteLLM is right',
    ]);
    expect(told.at(-1)).toBe('05:01:05 du_1: a person has to decide: no quota is left');
  });

  test('with holds that something else has opened, or that ended for no stated reason', () => {
    const other = hold({ id: 'hld_2', reason: 'declined', detail: 'insufficient_funds', openedBy: 'rch_1', since: at('05:00:30') });
    const ended = { ...other, releasedAt: at('05:00:40'), releasedBy: 'time', releaseReason: null };
    expect(inWords(story({ timeline: [] }, { reversals: [reversal()], holds: [ended] })).slice(1)).toEqual([
      '05:00:30 hold hld_2 (declined) began: insufficient_funds',
      '05:00:40 hold hld_2 ended, by time',
      '05:01:00 dispute du_1: 20.50 USD went back to the customer',
    ]);
    const both = story({ timeline: [] }, { holds: [ended, hold({ openedBy: 're_9 du_1' })], reversals: [reversal()] });
    expect(both.next).toMatch(/^hld_1 \(disputed\) stops further charges/);
    expect(both.steps.find(({ what }) => what.startsWith('hold hld_1'))?.at).toEqual(at('05:01:00'));
  });
});
