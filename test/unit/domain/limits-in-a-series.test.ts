/**
 * A series of alerts, sweeps and whatever happens between them, through the rules alone: however it goes, no
 * limit is exceeded, and nothing above `max_charge` is charged that no person has approved.
 *
 * The model is a ledger of its own: it counts what was charged by day and month from its list of charges, and
 * shares nothing with the rules.
 */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { limitsOf } from '../../../src/domain/limits.ts';
import { type MinorUnits, minorUnits, parseQuota, quotaMicros } from '../../../src/domain/money.ts';
import { APPROVAL_LASTS_MS, decideRecharge, type Occasion, type RechargePolicy } from '../../../src/domain/policy.ts';
import { NO_HISTORY, USD } from '../arbitraries.ts';

const RUNS = 10_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** A month of the model: only that it is longer than a day, and ends, matters. */
const MONTH_MS = 30 * DAY_MS;

type Step =
  | { do: 'spend'; micros: number }
  | { do: 'pass'; ms: number }
  /** A person releases the open hold, or nothing when there is none. */
  | { do: 'release' }
  | { do: 'ask'; occasion: Occasion; ending: 'granted' | 'declined' | 'refunded' | 'pending' }
  /** The recharge that is open is granted after all. */
  | { do: 'settle' };

const occasions: fc.Arbitrary<Occasion> = fc.oneof(
  fc.boolean().map((isRefusal): Occasion => ({ kind: 'alert', isRefusal })),
  fc.nat(50_000_000).map((spend): Occasion => ({ kind: 'sweep', expectedSpend: quotaMicros(spend) })),
);
const steps: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc
      .oneof(fc.nat(20_000_000), fc.nat(20_000_000), fc.nat(40_000_000), fc.nat(90_000_000))
      .map((micros): Step => ({ do: 'spend', micros })),
  },
  { weight: 2, arbitrary: fc.oneof(fc.nat(HOUR_MS), fc.nat(8 * DAY_MS)).map((ms): Step => ({ do: 'pass', ms })) },
  { weight: 1, arbitrary: fc.constant<Step>({ do: 'release' }) },
  { weight: 1, arbitrary: fc.constant<Step>({ do: 'settle' }) },
  {
    weight: 5,
    arbitrary: fc
      .record({ occasion: occasions, ending: fc.constantFrom('granted', 'granted', 'granted', 'declined', 'refunded', 'pending') })
      .map((asked): Step => ({ do: 'ask', ...asked }) as Step),
  },
);

const policies = fc
  .record({
    minimum: fc.nat(20_000_000),
    above: fc.integer({ min: 1_000_000, max: 50_000_000 }),
    maxDailyRecharges: fc.integer({ min: 0, max: 12 }),
    maxCharge: fc.option(fc.nat(20_000)),
    maxDailyAmount: fc.option(fc.nat(40_000)),
    maxMonthlyAmount: fc.option(fc.nat(80_000)),
  })
  .map(({ minimum, above, maxDailyRecharges, ...set }): RechargePolicy => {
    const priced = {
      minimumBalance: quotaMicros(minimum),
      targetBalance: quotaMicros(minimum + above),
      currency: USD,
      quotaPerUnit: parseQuota('1'),
    };
    const limits = limitsOf({ ...priced, ...(set as Partial<Record<keyof typeof set, MinorUnits>>) });
    return { ...priced, ...limits, maxDailyRecharges, autoRechargeEnabled: true, blocked: false };
  });

type Attempt = { at: number; amount: number; status: 'open' | 'succeeded' | 'declined' | 'refunded'; approved: boolean };

/** As `expect`, which is too slow for a million checks. */
function require(holds: boolean, what: string): void {
  if (!holds) throw new Error(`broken: ${what}`);
}

class Model {
  now = 100 * MONTH_MS;
  quota = 20_000_000;
  spend = 0;
  readonly attempts: Attempt[] = [];
  /** Amount of the hold that is open. */
  hold: number | null = null;
  approval: { amount: number; at: number } | null = null;
  readonly policy: RechargePolicy;

  constructor(policy: RechargePolicy) {
    this.policy = policy;
  }

  private in(unitMs: number): Attempt[] {
    return this.attempts.filter(({ at }) => Math.floor(at / unitMs) === Math.floor(this.now / unitMs));
  }

  charged(unitMs: number, which: (attempt: Attempt) => boolean = () => true): number {
    const counted = this.in(unitMs).filter(({ status }) => status === 'open' || status === 'succeeded');
    return counted.filter(which).reduce((sum, { amount }) => sum + amount, 0);
  }

  attemptsToday(): number {
    return this.in(DAY_MS).length;
  }

  private recent() {
    const times = this.attempts.filter(({ status }) => status === 'succeeded').map(({ at }) => at);
    const hourAgo = this.now - HOUR_MS;
    const begin = Math.max(hourAgo, this.approval?.at ?? 0);
    const before = times.filter((at) => at <= hourAgo && at > hourAgo - 30 * DAY_MS);
    const within = (end: number) => before.filter((at) => at >= end - HOUR_MS && at <= end).length;
    const first = this.attempts[0];
    return {
      lastHour: times.filter((at) => at > begin).length,
      busiestHourBefore: Math.max(0, ...before.map(within)),
      firstAgoMs: first ? this.now - first.at : null,
    };
  }

  approvedAmount(): number | null {
    const { approval } = this;
    if (!approval || this.now - approval.at > APPROVAL_LASTS_MS) return null;
    const used = this.attempts.some(({ at, status }) => at >= approval.at && status !== 'declined');
    return used ? null : approval.amount;
  }

  ask({ occasion, ending }: Extract<Step, { do: 'ask' }>): void {
    if (this.hold !== null) return;
    const approvedAmount = this.approvedAmount();
    const recent = this.recent();
    const decision = decideRecharge({
      policy: this.policy,
      budget: {
        quota: quotaMicros(this.quota),
        spend: quotaMicros(this.spend),
        softBudget: null,
        budgetDuration: null,
        hasBudgetLimits: false,
        blocked: false,
      },
      occasion,
      history: {
        ...NO_HISTORY,
        attemptsToday: this.attemptsToday(),
        chargedToday: minorUnits(this.charged(DAY_MS)),
        chargedThisMonth: minorUnits(this.charged(MONTH_MS)),
        hasOpenRecharge: this.attempts.some(({ status }) => status === 'open'),
        recent,
        approvedAmount: approvedAmount === null ? null : minorUnits(approvedAmount),
      },
    });
    if (decision.kind === 'hold') this.hold = decision.amount;
    if (decision.kind !== 'recharge') return;

    const { amount } = decision;
    const isApproved = approvedAmount !== null && amount <= approvedAmount;
    if (!isApproved) {
      require(amount <= this.policy.maxCharge, 'no more than max_charge without an approval');
      require(this.charged(DAY_MS) + amount <= this.policy.maxDailyAmount, 'max_daily_amount');
      require(this.charged(MONTH_MS) + amount <= this.policy.maxMonthlyAmount, 'max_monthly_amount');
      const isSeries = recent.lastHour >= 5 && recent.lastHour > 3 * recent.busiestHourBefore;
      require(!isSeries || (recent.firstAgoMs ?? 0) < 7 * DAY_MS, 'a runaway series is not charged');
    }
    // It ends the shortage, and goes to the target at most, or to the smallest charge.
    const after = this.quota - this.spend + decision.quota;
    require(after > this.policy.minimumBalance, 'above the minimum');
    require(after <= this.policy.targetBalance + 10_000 || amount === 50, 'no more than the target');
    const status = ending === 'granted' ? 'succeeded' : ending === 'pending' ? 'open' : ending;
    this.attempts.push({ at: this.now, amount, status, approved: isApproved });
    if (status === 'succeeded') this.quota += decision.quota;
  }

  settle(): void {
    const open = this.attempts.find(({ status }) => status === 'open');
    if (!open) return;
    open.status = 'succeeded';
    this.quota += open.amount * 10_000;
  }

  take(step: Step): void {
    if (step.do === 'spend') this.spend += step.micros;
    if (step.do === 'pass') this.now += step.ms;
    if (step.do === 'settle') this.settle();
    if (step.do === 'ask') this.ask(step);
    if (step.do === 'release' && this.hold !== null) {
      this.approval = { amount: this.hold, at: this.now };
      this.hold = null;
    }
    // Two things never happen at the same moment.
    this.now += 1;
  }
}

describe('whatever happens to an organization, in any order', () => {
  const seen = { charges: 0, above: 0, holds: 0 };

  test(`${RUNS} series exceed no limit, and what a person has approved is charged once`, () => {
    fc.assert(
      fc.property(policies, fc.array(steps, { maxLength: 30, size: 'max' }), (policy, series) => {
        const model = new Model(policy);
        let released = 0;
        for (const step of series) {
          const held = model.hold !== null;
          model.take(step);
          if (step.do === 'release' && held) released += 1;
          if (!held && model.hold !== null) seen.holds += 1;

          require(model.attemptsToday() <= policy.maxDailyRecharges, 'max_daily_recharges');
          const ordinary = (attempt: Attempt) => !attempt.approved;
          require(model.charged(DAY_MS, ordinary) <= policy.maxDailyAmount, 'max_daily_amount of what nobody approved');
          require(model.charged(MONTH_MS, ordinary) <= policy.maxMonthlyAmount, 'max_monthly_amount of what nobody approved');
        }
        const above = model.attempts.filter(({ amount, status }) => amount > policy.maxCharge && status !== 'declined');
        require(above.length <= released, 'one charge for each approval');
        seen.charges += model.attempts.length;
        seen.above += above.length;
      }),
      { numRuns: RUNS },
    );
  }, 60_000);

  test('and they charge, hold and charge what was approved often enough to mean something', () => {
    expect(seen.charges).toBeGreaterThan(RUNS / 2);
    expect(seen.holds).toBeGreaterThan(RUNS / 10);
    expect(seen.above).toBeGreaterThan(RUNS / 100);
  });
});

test('what a person has approved may be charged for a day', () => {
  expect(APPROVAL_LASTS_MS).toBe(86_400_000);
});
