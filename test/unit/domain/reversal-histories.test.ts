/**
 * Whatever Stripe shows, people do and LiteLLM answers, in whatever order: what `decideReversals` decides keeps its
 * promises over whole histories.
 */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type MinorUnits, minorUnits, type QuotaMicros, quotaMicros } from '../../../src/domain/money.ts';
import {
  decideReversals,
  isFollowed,
  isMoneyGone,
  type KnownReversal,
  type OpenedReversal,
  REVERSAL_MOVES,
  type ReturnedMoney,
  type ReversalDecision,
  type ReversalStatus,
  type ReversedRecharge,
} from '../../../src/domain/reversal.ts';
import { budgetAfter, missingTransfers, takenBy } from '../../../src/domain/reversal-budget.ts';
import { gone, granted, here, money, ONE_CENT } from '../reversal-facts.ts';

/** A reversal as the database has it. */
type Row = KnownReversal & { takenBefore?: QuotaMicros; takenAfter?: QuotaMicros; givenBefore?: QuotaMicros; givenAfter?: QuotaMicros };

/** What the database, the ledger and LiteLLM make of decisions, in memory. */
class World {
  readonly recharge: ReversedRecharge;
  readonly moneys = new Map<string, ReturnedMoney>();
  readonly rows = new Map<string, Row>();
  /** As the ledger's unique constraint has them: one of each kind and reference. */
  readonly transfers = new Map<string, QuotaMicros>();
  budget: QuotaMicros;

  constructor(recharge: ReversedRecharge, budget: QuotaMicros) {
    this.recharge = recharge;
    this.budget = budget;
  }

  get known(): Row[] {
    return [...this.rows.values()];
  }

  /** One look of a run. @param steps how many of the steps are made before the run is ended. */
  look(steps = Number.POSITIVE_INFINITY): ReversalDecision {
    const decision = decideReversals(this.recharge, [...this.moneys.values()], this.known);
    for (const opened of decision.open) this.open(opened);
    for (const { reversalId, step } of decision.steps.slice(0, steps)) {
      const row = this.row(reversalId);
      if (step === 'take_back') this.take(row);
      else if (step === 'give_back') this.give(row);
      else this.move(row, 'given_back');
    }
    return decision;
  }

  /** Looks until nothing is left to do. @throws when that does not come to an end. */
  settle(): ReversalDecision {
    for (let looks = 0; looks < 20; looks++) {
      const decision = this.look();
      if (decision.open.length + decision.steps.length === 0) return decision;
    }
    throw new Error('the looks never end');
  }

  park(index: number): void {
    const row = this.known[index];
    if (row?.status === 'open' || row?.status === 'taken_back') this.move(row, 'needs_attention');
  }

  /** A person has seen to the budget. */
  accept(index: number): void {
    const row = this.known[index];
    if (row?.status !== 'needs_attention') return;
    const isGone = isMoneyGone(row, [...this.moneys.values()]);
    const lacking = missingTransfers(row, { isTaken: this.transfers.has(`reversal ${row.id}`), isGone });
    if (lacking !== 'none') this.append(lacking === 'taking' ? 'reversal' : 'grant', row, takenBy(row));
    this.move(row, isGone ? 'taken_back' : 'given_back');
  }

  private row(id: string): Row {
    const row = this.rows.get(id);
    if (!row) throw new Error(`no reversal ${id}`);
    return row;
  }

  private move(row: Row, to: ReversalStatus): void {
    if (!(REVERSAL_MOVES[row.status] as readonly ReversalStatus[]).includes(to))
      throw new Error(`${row.id} cannot go from ${row.status} to ${to}`);
    row.status = to;
  }

  private open({ kind: _, ...opened }: OpenedReversal): void {
    const row = this.rows.get(opened.id);
    if (row && !(row.quota === 0 && opened.quota > 0)) throw new Error(`${opened.id} is there already`);
    if (row) this.move(row, opened.status);
    this.rows.set(opened.id, { ...opened });
  }

  private append(kind: string, { id }: Row, quota: QuotaMicros): void {
    if (this.transfers.has(`${kind} ${id}`)) throw new Error(`a second ${kind} of ${id}`);
    this.transfers.set(`${kind} ${id}`, quota);
  }

  private take(row: Row): void {
    row.takenBefore = this.budget;
    row.takenAfter = budgetAfter(row, 'take', this.budget);
    this.budget = row.takenAfter;
    this.append('reversal', row, takenBy(row));
    this.move(row, 'taken_back');
  }

  private give(row: Row): void {
    row.givenBefore = this.budget;
    row.givenAfter = budgetAfter(row, 'give', this.budget);
    this.budget = row.givenAfter;
    this.append('grant', row, takenBy(row));
    this.move(row, 'given_back');
  }
}

type Event =
  /** Stripe changes its mind about a refund or dispute, or shows a new one. */
  | { kind: 'money'; id: string; amount: number; isGone: boolean; isFinal: boolean }
  /** A person edits the budget. */
  | { kind: 'edit'; delta: number }
  /** A look whose run is ended after so many steps. */
  | { kind: 'look'; steps: number }
  /** LiteLLM refuses the write of one reversal, or a person accepts one. */
  | { kind: 'park' | 'accept'; index: number };

const people = fc.record({ kind: fc.constantFrom('park' as const, 'accept' as const), index: fc.nat({ max: 3 }) });

const eventsWith = (...others: fc.WeightedArbitrary<Event>[]): fc.Arbitrary<Event[]> =>
  fc.array(
    fc.oneof(
      ...others,
      {
        weight: 4,
        arbitrary: fc.record({
          kind: fc.constant('money' as const),
          id: fc.constantFrom('re_1', 're_2', 'du_1'),
          amount: fc.oneof(fc.constantFrom(1, 2050), fc.integer({ min: 1, max: 2050 })),
          isGone: fc.boolean(),
          isFinal: fc.boolean(),
        }),
      },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('edit' as const), delta: fc.integer({ min: -30_000_000, max: 5_000_000 }) }) },
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('look' as const), steps: fc.integer({ min: 0, max: 3 }) }) },
    ),
    { maxLength: 30 },
  );
const events = eventsWith({ weight: 2, arbitrary: people });
const eventsWithoutPeople = eventsWith();

/** Quota that divides evenly, that does not, and hardly any. */
const recharges = fc
  .record({ amount: fc.constantFrom(2050, 7, 1), quota: fc.constantFrom(20_500_000, 1_333_333, 3, 1) })
  .map(({ amount, quota }): ReversedRecharge => ({ ...granted, amountMinor: minorUnits(amount), quotaGranted: quotaMicros(quota) }));

/**
 * Plays a history, and calls `after` behind each event. Returns the world, and what people have added to the
 * budget.
 */
function play(recharge: ReversedRecharge, history: Event[], after: (world: World) => void = () => {}): { world: World; edited: number } {
  const world = new World(recharge, quotaMicros(10_000_000 + recharge.quotaGranted));
  let edited = 0;
  for (const event of history) {
    if (event.kind === 'look') world.look(event.steps);
    else if (event.kind === 'park') world.park(event.index);
    else if (event.kind === 'accept') world.accept(event.index);
    else if (event.kind === 'edit') {
      const budget = quotaMicros(Math.max(0, world.budget + event.delta));
      edited += budget - world.budget;
      world.budget = budget;
    } else if (event.kind === 'money') {
      const { id, amount, isGone, isFinal } = event;
      // An amount never changes.
      const amountMinor = world.moneys.get(id)?.amountMinor ?? minorUnits(Math.min(amount, recharge.amountMinor));
      world.moneys.set(id, money(id, { amountMinor, isGone, isFinal }));
    }
    after(world);
  }
  return { world, edited };
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const isHolding = ({ status, quota }: KnownReversal) => status !== 'given_back' && quota > 0;

describe('whatever Stripe shows, in whatever order, and wherever runs are ended', () => {
  test('never more is taken than was granted', () => {
    fc.assert(
      fc.property(recharges, events, (recharge, history) => {
        play(recharge, history, ({ known }) => {
          const standing = known.filter(isHolding);
          expect(sum(standing.map(({ amountMinor }) => amountMinor))).toBeLessThanOrEqual(recharge.amountMinor);
          expect(sum(standing.map(({ quota }) => quota))).toBeLessThanOrEqual(recharge.quotaGranted);
          expect(sum(standing.map((row) => (row.status === 'open' ? 0 : takenBy(row))))).toBeLessThanOrEqual(recharge.quotaGranted);
        });
      }),
      { numRuns: 500 },
    );
  });

  test('what is given back is what was taken, in the budget and in the ledger', () => {
    fc.assert(
      fc.property(recharges, eventsWithoutPeople, (recharge, history) => {
        const { world, edited } = play(recharge, history);
        for (const row of world.known) {
          const given = world.transfers.get(`grant ${row.id}`);
          if (given === undefined) continue;
          expect(given).toBe(world.transfers.get(`reversal ${row.id}`));
          expect((row.givenAfter ?? 0) - (row.givenBefore ?? 0)).toBe(given);
          expect((row.takenBefore ?? 0) - (row.takenAfter ?? 0)).toBe(given);
        }
        const taken = world.known.filter(({ status }) => status === 'taken_back').map(takenBy);
        expect(world.budget).toBe(10_000_000 + recharge.quotaGranted + edited - sum(taken));
        expect(world.budget).toBeGreaterThanOrEqual(0);
      }),
      { numRuns: 500 },
    );
  });

  test('the order of the lists makes no difference', () => {
    const shuffled = <T>(values: T[]) => fc.shuffledSubarray(values, { minLength: values.length });
    const worlds = fc.tuple(recharges, events).map(([recharge, history]) => play(recharge, history).world);
    const orders = worlds.chain((world) => fc.tuple(fc.constant(world), shuffled([...world.moneys.values()]), shuffled(world.known)));
    fc.assert(
      fc.property(orders, ([world, moneys, known]) => {
        const inOrder = decideReversals(world.recharge, [...world.moneys.values()], world.known);
        expect(decideReversals(world.recharge, moneys, known)).toEqual(inOrder);
      }),
      { numRuns: 500 },
    );
  });

  test('looks come to an end, and then decide nothing new', () => {
    fc.assert(
      fc.property(recharges, events, (recharge, history) => {
        const { world } = play(recharge, history);
        const settled = world.settle();
        const rows = structuredClone(world.known);
        expect(world.look()).toEqual(settled);
        expect(world.known).toEqual(rows);
      }),
      { numRuns: 500 },
    );
  });

  test('in the end the quota has followed the money, or a person has to decide, or Stripe has to say more', () => {
    fc.assert(
      fc.property(recharges, events, (recharge, history) => {
        const { world } = play(recharge, history);
        const { isFinal } = world.settle();
        for (const returned of world.moneys.values()) {
          const isWaiting = !isFinal && returned.isGone;
          expect(isWaiting || isFollowed(recharge, returned, world.known)).toBe(true);
        }
      }),
      { numRuns: 500 },
    );
  });

  test('money that comes and goes is taken each time, under a reference of its own', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 2050 }), (times, amount) => {
        const world = new World(granted, quotaMicros(30_500_000));
        const amountMinor: MinorUnits = minorUnits(amount);
        for (let time = 1; time <= times; time++) {
          world.moneys.set('du_1', gone('du_1', { amountMinor }));
          world.settle();
          expect(world.budget).toBe(30_500_000 - amount * ONE_CENT);
          world.moneys.set('du_1', here('du_1', { amountMinor }));
          world.settle();
          expect(world.budget).toBe(30_500_000);
        }
        const references = Array.from({ length: times }, (_, index) => (index === 0 ? 'du_1' : `du_1.${index + 1}`));
        expect([...world.transfers.keys()]).toEqual(references.flatMap((reference) => [`reversal ${reference}`, `grant ${reference}`]));
      }),
    );
  });
});
