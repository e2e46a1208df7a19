/**
 * One run: an organization of its own, or a few that share something, to which the steps of a schedule happen,
 * and what must be known to judge the end.
 */
import axios from 'axios';
import { newFingerprint } from '../support/stand-ins.ts';
import { Alerts } from './alerts.ts';
import { ArmedFaults } from './armed-faults.ts';
import { type Backup, grantedIn, restoreRows, rowsOf } from './backup.ts';
import { Deeds } from './deeds.ts';
import type { Environment } from './environment.ts';
import { LitellmSide } from './litellm-side.ts';
import type { Mishap, MishapQuestion } from './mishap-board.ts';
import { Operator } from './operator.ts';
import { pause, persist, within } from './patience.ts';
import { CARD_BEHAVIOURS, describe, playsAlone, type Schedule, type SettingsChange, type Step, type StepOf } from './schedule.ts';
import { isFollowed, isSettled } from './settled.ts';
import { StripeSide } from './stripe-side.ts';
import { Clock } from './time.ts';

const POLL_MS = 200;
/** Enough for the retries of a few faults, each of which strikes a few times at most. */
const FAULTS_STAY_MS = 20_000;
/** As long as it takes to settle what a run has begun, before time may pass. */
const LEAP_SETTLED_MS = 30_000;
const MINUTE_MS = 60_000;
/** A step of a recharge takes tens of milliseconds. */
const MOMENT_MS = 15;
/** A backup is older than what reconciliation takes for a run that is about to begin. */
const BACKUP_AGE_MS = 5 * MINUTE_MS;
/** The longest pause between two looks for returned money, see `workflows/reversal.ts`, and the look. */
const REVERSAL_RETRY_MS = 65_000;
/** What one reconciliation settles makes room for the next: a parked recharge, say. */
const MAX_RECONCILIATIONS = 6;
/** What is found of an organization until it is settled; a finding that stands says that a person has to look. */
const UNSETTLED_FINDINGS = ['recharge_lost', 'run_missing', 'money_returned', 'captured_unknown'];

export class Run {
  readonly organizationId: string;
  readonly teamId: string;
  readonly schedule: Schedule;
  customerId = '';
  readonly deeds: Deeds;
  readonly log: { at: number; what: string }[];
  readonly startedAt = Date.now();
  /** How often each kind of fault or mishap struck, and copies sent. */
  readonly tally: Map<string, number>;
  readonly clock: Clock;
  /** The further organizations of the schedule. */
  readonly others: readonly Run[];
  /** Of the card: the same in each organization that shares it. */
  readonly fingerprint: string;

  private readonly environment: Environment;
  private readonly alerts: Alerts;
  private readonly operator: Operator;
  private readonly litellm: LitellmSide;
  private cardId = '';
  private backup: Backup | undefined;
  private readonly mishaps: (Omit<StepOf<'mishap'>, 'kind'> & { struck: boolean })[] = [];
  private readonly watches: Promise<void>[] = [];
  private settling = false;
  private armedFaults: ArmedFaults | undefined;

  /**
   * @param name unlike that of any other run in this environment, and no beginning of one.
   * @param first the run's first organization, for a further one.
   */
  constructor(environment: Environment, name: string, schedule: Schedule, first?: Run) {
    this.environment = environment;
    this.schedule = schedule;
    this.organizationId = name;
    this.teamId = `team-of-${name}`;
    const { target, minimum, maxDailyRecharges } = schedule.start;
    this.deeds = new Deeds({ target, minimum, daily: maxDailyRecharges });
    this.alerts = new Alerts(environment, this.deeds, this.teamId);
    this.operator = new Operator(environment, name);
    this.litellm = new LitellmSide(environment, this.deeds, this.teamId);
    this.log = first?.log ?? [];
    this.tally = first?.tally ?? new Map();
    this.clock = first?.clock ?? new Clock();
    this.fingerprint = first && schedule.others?.share === 'a card' ? first.fingerprint : newFingerprint();
    const further = first ? 0 : (schedule.others?.count ?? 0);
    this.others = Array.from({ length: further }, (_, index) => new Run(environment, `${name}-${index + 1}z`, schedule, this));
  }

  /** Every organization of the run. */
  get all(): readonly Run[] {
    return [this, ...this.others];
  }

  /** Makes the customer, the team and the organization, of each. */
  async prepare(): Promise<void> {
    await Promise.all(this.all.map((each) => each.makeOrganization()));
  }

  private async makeOrganization(): Promise<void> {
    const { stripe, stripeServer } = this.environment;
    const { budget, spend, minimum, target, maxDailyRecharges, maxCharge, maxDailyAmount, maxMonthlyAmount } = this.schedule.start;
    const customer = await stripe.customers.create({ name: this.organizationId });
    this.customerId = customer.id;
    this.cardId = (await stripe.paymentMethods.attach('pm_card_visa', { customer: customer.id })).id;
    // Attempts are counted per card, whoever has it, and runs must not touch each other.
    await axios.post(`${stripeServer.url}/_sandbox/payment_methods/${this.cardId}`, { fingerprint: this.fingerprint });
    await stripe.customers.update(customer.id, { invoice_settings: { default_payment_method: this.cardId } });
    await this.litellm.make(budget);
    await this.litellm.spend(spend);
    this.deeds.crossings = 1;
    await persist('the organization is made', async () => {
      const { status, data } = await this.environment.api.post('/api/v1/organizations', {
        c_organization_id: this.organizationId,
        stripe_customer_id: customer.id,
        litellm_team_id: this.teamId,
        minimum_balance: minimum.toFixed(2),
        target_balance: target.toFixed(2),
        max_daily_recharges: maxDailyRecharges,
        max_charge: maxCharge.toFixed(2),
        max_daily_amount: maxDailyAmount.toFixed(2),
        max_monthly_amount: maxMonthlyAmount.toFixed(2),
      });
      // Made, or made by an attempt whose answer was lost.
      if (status !== 201 && status !== 409) throw new Error(`${status} ${JSON.stringify(data)}`);
    });
  }

  async play(): Promise<void> {
    for (const step of this.schedule.steps) {
      this.note(describe(step));
      await this.perform(step);
    }
  }

  /**
   * Waits until nothing is open; what is armed may strike meanwhile, and is taken away when it has had its
   * time. What was lost by a restore, or by Stripe's events, is then reconciled.
   *
   * @throws when something is still open `timeoutMs` after that.
   */
  async settle(timeoutMs: number): Promise<void> {
    this.note('— no more happens, everything settles');
    await this.untilSettled(FAULTS_STAY_MS);
    await Promise.all(this.all.map((each) => each.endFaults()));
    for (const each of this.all) if (each.deeds.needsReconciliation) await each.untilReconciled(timeoutMs);
    await this.requireSettled(timeoutMs);
    // Another run's sweep would report again what is low.
    for (const { teamId } of this.all) await this.environment.litellm.post('/team/block', { team_id: teamId });
    await this.environment.sweepsEnd();
    await this.requireSettled(timeoutMs);
  }

  private async endFaults(): Promise<void> {
    this.settling = true;
    const struck = this.faults.clear();
    await Promise.all(this.watches);
    for (const { what, times } of struck) this.count(what, times);
  }

  private async requireSettled(timeoutMs: number): Promise<void> {
    if (!(await this.untilSettled(timeoutMs))) throw new Error(`not settled after ${timeoutMs / 1000} s without faults`);
  }

  /** As an operator does after a restore: reconciles, and settles what is parked, until nothing is found any more. */
  private async untilReconciled(timeoutMs: number): Promise<void> {
    for (let round = 1; round <= MAX_RECONCILIATIONS; round++) {
      const findings = await this.reconcile();
      await within(timeoutMs, POLL_MS, () => isSettled(this.environment, [this]));
      const last = this.deeds.restored.at(-1);
      const settled = last && (await this.operator.resolve(last.parked));
      if (settled && last.parked === 'grant') this.deeds.granted += settled;
      if (!settled && !findings.some((kind) => UNSETTLED_FINDINGS.includes(kind))) return;
      await within(timeoutMs, POLL_MS, () => isSettled(this.environment, [this]));
      // What the reconciliation has started may wait for its next attempt, while a recharge was open.
      if (findings.includes('money_returned')) await within(REVERSAL_RETRY_MS, POLL_MS, () => this.isAllFollowed());
    }
  }

  private async isAllFollowed(): Promise<boolean> {
    const followed = await Promise.all(this.deeds.returned.map((each) => isFollowed(this.environment, each)));
    return followed.every(Boolean);
  }

  /** Returns the kinds of what was found of this organization. */
  private async reconcile(): Promise<string[]> {
    const found = await this.environment.reconcile(this.organizationId);
    this.deeds.findings = found.filter(({ organizationId }) => organizationId === this.organizationId).map(({ kind }) => kind);
    return this.deeds.findings;
  }

  /**
   * The schedule with what befell this run by the doing of others, so that it can be repeated without them.
   */
  asLived(): Schedule {
    const ended = this.log.at(-1)?.at ?? Date.now();
    const others = this.environment.disturbances
      .filter(({ at, by }) => at >= this.startedAt && at <= ended && by !== this.organizationId)
      .map(({ at, what }): Step => ({ kind: 'disturb', what, afterMs: at - this.startedAt }));
    return { ...this.schedule, steps: [...others, ...this.schedule.steps] };
  }

  /** What goes wrong in an activity of this organization that is about to run. */
  mishapFor({ activity }: MishapQuestion): Mishap | null {
    if (this.settling) return null;
    for (const mishap of this.mishaps) {
      if (mishap.activity !== activity || mishap.struck) continue;
      if (mishap.skip > 0) {
        mishap.skip--;
        continue;
      }
      mishap.struck = true;
      this.note(`${activity}: ${mishap.ending} (${mishap.point})`);
      if (mishap.ending === 'dies') this.environment.expectDeath(this.organizationId);
      this.count(mishap.ending === 'dies' ? 'worker dies at a step' : `error ${mishap.point.replace(/^(first|second)/, 'after a')}`);
      return { point: mishap.point, ending: mishap.ending };
    }
    return null;
  }

  private get faults(): ArmedFaults {
    this.armedFaults ??= new ArmedFaults(this.environment, this.deeds, this);
    return this.armedFaults;
  }

  private get stripe(): StripeSide {
    return new StripeSide(this.environment, this.deeds, this);
  }

  private async perform(step: Step): Promise<void> {
    const { environment, deeds, litellm, operator, faults } = this;
    switch (step.kind) {
      case 'pause':
        return pause(step.ms);
      case 'rest':
        await this.untilSettled(step.ms);
        return;
      case 'until':
        await within(step.ms, MOMENT_MS, () => this.hasReached(step.status));
        return;
      case 'until struck':
        await within(step.ms, MOMENT_MS, async () => faults.hasStruck());
        return;
      case 'alert':
        return this.alert(step);
      case 'replay':
        if (await this.alerts.replay(step.times)) this.count('replays', step.times);
        return;
      case 'conflict':
        return this.alerts.conflict();
      case 'use up':
        return litellm.useUp(step.over);
      case 'spend':
        return litellm.spend(step.dollars);
      case 'settings':
        return this.changeSettings(step.change);
      case 'suspend':
        return operator.change('post', '/suspend', {});
      case 'resume':
        return operator.change('post', '/resume', {});
      case 'hold':
        return operator.hold(step.scope);
      case 'release':
        // Whoever accepts a lowered budget lets the crossing be charged again.
        if (step.reasons.includes('budget_lowered')) deeds.crossings++;
        return operator.release(step.reasons, {
          whose: this.all.map(({ organizationId }) => organizationId),
          ofService: playsAlone(this.schedule),
        });
      case 'resolve': {
        const parked = await operator.resolve(step.by);
        if (step.by === 'grant') deeds.granted += parked;
        return;
      }
      case 'sweep':
        return environment.sweep(this.organizationId);
      case 'reconcile':
        await this.reconcile();
        return;
      case 'synchronise':
        for (let time = 0; time < step.times; time++) this.watches.push(environment.synchronise([this.organizationId]));
        return;
      case 'time':
        return this.pass(step.minutes * MINUTE_MS);
      case 'back up':
        return this.backUp();
      case 'restore':
        return this.restore(step);
      case 'refuse raises':
        return faults.refuseRaises(step.of);
      case 'take raises':
        return faults.takeRaises();
      case 'wrong mode':
        return faults.forgetCustomers();
      case 'right mode':
        return faults.knowCustomers();
      case 'hide payments':
        // What Stripe does not list cannot be found: the crossing may be charged once more.
        deeds.crossings++;
        return faults.hidePayments();
      case 'show payments':
        return faults.showPayments();
      case 'gate':
        return faults.closeGate(step);
      case 'open the gate':
        return faults.openGate();
      case 'everybody':
        await Promise.all(this.all.map((each) => each.perform(step.step)));
        return;
      case 'other':
        return this.others[0]?.perform(step.step);
      case 'card': {
        // Who shares a card has a payment method of it each.
        const shared = this.schedule.others?.share === 'a card' ? this.all : [this];
        for (const { cardId } of shared) {
          const behaves = { behaves_like: CARD_BEHAVIOURS[step.behaves] };
          await axios.post(`${environment.stripeServer.url}/_sandbox/payment_methods/${cardId}`, behaves);
        }
        return;
      }
      case 'edit budget':
        return litellm.edit(step.by);
      case 'delete team':
        return litellm.delete();
      case 'return money':
        if (await this.stripe.returnMoney(step)) this.count('returns of money');
        return;
      case 'decide':
        await this.stripe.decide(step.as);
        return;
      case 'change the amount':
        return this.stripe.changeAmount(step.by);
      case 'Stripe events':
        environment.stripePost.arrange(this.customerId, step.are);
        deeds.eventsLost ||= step.are === 'lost';
        return;
      case 'cancel':
        if (this.alerts.lastEventId && (await operator.cancel(this.alerts.lastEventId))) this.count('cancellations');
        return;
      case 'prune keys':
        return environment.pruneIdempotencyKeys();
      case 'fault': {
        const fault = faults.arm(step);
        if (step.kills) this.watches.push(this.killWhen(() => fault.struck > 0));
        return;
      }
      case 'mishap':
        this.mishaps.push({ ...step, struck: false });
        return;
      case 'disturb':
        this.watches.push(pause(step.afterMs).then(() => environment.disturb(step.what, this.organizationId)));
        return;
      case 'kill the API': {
        const alert = this.alert({ kind: 'alert', event: 'budget_crossed', proof: 'Standard Webhooks', copies: 3, tells: 'what is so' });
        await pause(step.ms);
        await environment.disturb('kill the API', this.organizationId);
        return alert;
      }
    }
  }

  private async alert(step: StepOf<'alert'>): Promise<void> {
    const team = await this.litellm.team();
    const { budget, spend } = this.schedule.start;
    const told = step.tells === 'the first budget' || !team ? { max_budget: budget, spend } : team;
    if (step.copies > 1) this.count('duplicates', step.copies - 1);
    await this.alerts.send(step, told);
  }

  private async changeSettings(change: SettingsChange): Promise<void> {
    const { most, off } = this.deeds;
    most.target = Math.max(most.target, Number(change.target_balance ?? 0));
    most.minimum = Math.max(most.minimum, Number(change.minimum_balance ?? 0));
    most.daily = Math.max(most.daily, change.max_daily_recharges ?? 0);
    // A raised minimum may be a crossing without any spending.
    if (change.minimum_balance) this.deeds.crossings++;
    const last = off.at(-1);
    if (change.auto_recharge_enabled && last) last.to = Math.min(last.to, Date.now());
    await this.operator.change('patch', '', change);
    if (change.auto_recharge_enabled === false) off.push({ from: Date.now(), to: Number.POSITIVE_INFINITY });
  }

  /** Time that passes while something is open would be judged by two clocks: then none does. */
  private async pass(ms: number): Promise<void> {
    if (!(await this.untilSettled(LEAP_SETTLED_MS))) return this.note('something is open, so no time passes');
    const ids = playsAlone(this.schedule) ? null : this.all.map(({ organizationId }) => organizationId);
    const { sql } = this.environment;
    const mark = await persist('the time is read', () => this.clock.mark(sql, this.organizationId));
    this.count('leaps of time');
    await persist('time passes', () => this.clock.leap(sql, { ms, whose: ids, mark }));
  }

  private async backUp(): Promise<void> {
    const { sql } = this.environment;
    const team = await this.litellm.team();
    const answers = this.deeds.answers.length;
    const rows = await persist('a backup is made', () => rowsOf(sql, this.organizationId));
    this.backup = { at: Date.now(), rows, team, answers };
  }

  /** Nothing is under way then, as where the service is stopped for it. */
  private async restore({ what, parked }: StepOf<'restore'>): Promise<void> {
    const { backup, deeds, organizationId } = this;
    if (!backup || !(await this.untilSettled(LEAP_SETTLED_MS)))
      return this.note('something is open, or there is no backup: nothing is restored');
    const [database, litellm] = [what !== 'LiteLLM', what !== 'the database'];
    if (litellm && backup.team) await this.litellm.restore(backup.team);
    if (database) {
      const { sql } = this.environment;
      const mark = await persist('the time is read', () => this.clock.mark(sql, organizationId));
      const restoring = {
        rows: (connection: Parameters<typeof restoreRows>[0]) => restoreRows(connection, organizationId, backup.rows),
        madeAt: backup.at,
      };
      await persist('the database is restored', () =>
        this.clock.leap(sql, { ms: BACKUP_AGE_MS, whose: [organizationId], mark, restoring }),
      );
      deeds.answers.splice(backup.answers);
    }
    this.count('restores');
    const budget = backup.team?.max_budget;
    const both =
      database && litellm && typeof budget === 'number' ? { budget, granted: grantedIn(backup), edits: deeds.edits.length } : undefined;
    deeds.restored.push({ at: Date.now(), database, litellm, parked, both });
  }

  private async killWhen(moment: () => boolean): Promise<void> {
    while (!moment()) {
      if (this.settling) return;
      await pause(10);
    }
    this.note('the worker is killed in the call');
    await this.environment.disturb('kill the worker', this.organizationId);
  }

  /** False when something is still open after so long. */
  private untilSettled(timeoutMs: number): Promise<boolean> {
    return within(timeoutMs, POLL_MS, () => isSettled(this.environment, this.all));
  }

  private async hasReached(status: string): Promise<boolean> {
    const { rowCount } = await this.environment.sql
      .query('select 1 from recharge where organization_id = $1 and status = $2', [this.organizationId, status])
      .catch(() => ({ rowCount: 0 }));
    return rowCount !== 0;
  }

  private note(what: string): void {
    this.log.push({ at: Date.now(), what });
  }

  private count(what: string, times = 1): void {
    this.tally.set(what, (this.tally.get(what) ?? 0) + times);
  }
}
