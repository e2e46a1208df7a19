/**
 * One run: an organization of its own, or a few that share something, to which the steps of a schedule happen,
 * and what must be known to judge the end.
 */
import { createHmac, randomBytes } from 'node:crypto';
import axios, { type AxiosResponse } from 'axios';
import type { Fault, FaultAction, FaultRequest } from '../../sandbox/faults.ts';
import type { HoldReason } from '../../src/domain/hold.ts';
import { newFingerprint } from '../support/stand-ins.ts';
import { alertBody, HMAC_SECRET, standardWebhookHeaders, URL_TOKEN } from '../support/world.ts';
import type { Environment } from './environment.ts';
import type { Mishap, MishapQuestion } from './mishap-board.ts';
import { CALLS, CARD_BEHAVIOURS, describe, type Misfortune, playsAlone, type Schedule, type Step, type StepOf } from './schedule.ts';
import { Clock } from './time.ts';

/** Who releases holds in a run. */
export const OPERATOR = 'an operator of the run';

/** Longer than any restart: whoever sends to us has sent again by then. */
const PERSISTENCE_MS = 60_000;
const PERSISTENCE_PAUSE_MS = 250;
const POLL_MS = 200;
/** Enough for the retries of a few faults, each of which strikes a few times at most. */
const FAULTS_STAY_MS = 20_000;
/** As long as it takes to settle what a run has begun, before time may pass. */
const LEAP_REST_MS = 30_000;
const MINUTE_MS = 60_000;
/** A fault that stands until it is taken away. */
const ALWAYS = 1e9;
/** A step of a recharge takes tens of milliseconds. */
const MOMENT_MS = 15;

type Delivery = { webhookId: string; text: string };
type Team = { max_budget: number | null; spend: number };

/** What the API said to an alert. */
export type AlertAnswer = { webhookId: string | null; status: number; eventId: string | undefined; receipt: string | undefined };

export class Run {
  readonly organizationId: string;
  readonly teamId: string;
  readonly schedule: Schedule;
  customerId = '';

  // What the judgement needs to know of what was done.
  readonly answers: AlertAnswer[] = [];
  /** The budgets that somebody else has written, in order; null is unlimited. */
  readonly edits: (number | null)[] = [];
  teamDeleted = false;
  /** How often the balance may have fallen below the minimum. */
  crossings = 1;
  /** The most that was ever allowed, whatever the settings became later. */
  readonly most: { target: number; minimum: number; daily: number };
  /** When LiteLLM took no raise, of the team or of anybody. */
  readonly refusals: { of: 'the team' | 'everybody'; from: number; to: number }[] = [];
  /** Whether a call of ours to Stripe may reach it later than it was sent, by as much. */
  slowestCallMs = 0;

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
  private cardId = '';
  private lastDelivery: Delivery | undefined;
  private lastEventId: string | undefined;
  private readonly faults: { fault: Fault; what: Misfortune; server: 'stripe' | 'litellm' }[] = [];
  private readonly mishaps: (Omit<StepOf<'mishap'>, 'kind'> & { struck: boolean })[] = [];
  private readonly watches: Promise<void>[] = [];
  private settling = false;
  private readonly standing: { refusal?: Fault; unknown?: Fault; gate?: { gate: Fault; server: 'stripe' | 'litellm' } } = {};

  /**
   * @param name unlike that of any other run in this environment, and no beginning of one.
   * @param first the run's first organization, for a further one.
   */
  constructor(environment: Environment, name: string, schedule: Schedule, first?: Run) {
    this.environment = environment;
    this.schedule = schedule;
    this.organizationId = name;
    this.log = first?.log ?? [];
    this.tally = first?.tally ?? new Map();
    this.clock = first?.clock ?? new Clock();
    this.fingerprint = first && schedule.others?.share === 'a card' ? first.fingerprint : newFingerprint();
    const further = first ? 0 : (schedule.others?.count ?? 0);
    this.others = Array.from({ length: further }, (_, index) => new Run(environment, `${name}-${index + 1}z`, schedule, this));
    this.teamId = `team-of-${name}`;
    const { target, minimum, maxDailyRecharges } = schedule.start;
    this.most = { target, minimum, daily: maxDailyRecharges };
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
    const { stripe, stripeServer, litellm } = this.environment;
    const { budget, spend, minimum, target, maxDailyRecharges, maxCharge, maxDailyAmount, maxMonthlyAmount } = this.schedule.start;
    const customer = await stripe.customers.create({ name: this.organizationId });
    this.customerId = customer.id;
    this.cardId = (await stripe.paymentMethods.attach('pm_card_visa', { customer: customer.id })).id;
    // Attempts are counted per card, whoever has it, and runs must not touch each other.
    await axios.post(`${stripeServer.url}/_sandbox/payment_methods/${this.cardId}`, { fingerprint: this.fingerprint });
    await stripe.customers.update(customer.id, { invoice_settings: { default_payment_method: this.cardId } });
    await litellm.post('/team/new', { team_id: this.teamId, max_budget: budget });
    await this.spend(spend);
    this.crossings = 1;
    await this.persist('the organization is made', async () => {
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
   * time.
   *
   * @throws when something is still open `timeoutMs` after that.
   */
  async settle(timeoutMs: number): Promise<void> {
    this.note('— no more happens, everything settles');
    await this.untilRest(FAULTS_STAY_MS);
    await Promise.all(this.all.map((each) => each.endFaults()));
    await this.requireRest(timeoutMs);
    // Another run's sweep would report again what is low.
    for (const { teamId } of this.all) await this.environment.litellm.post('/team/block', { team_id: teamId });
    await this.environment.sweepsEnd();
    await this.requireRest(timeoutMs);
  }

  private async endFaults(): Promise<void> {
    this.settling = true;
    this.takeRaises();
    this.knowCustomers();
    this.openGate();
    for (const { fault, server } of this.faults) this.boardOf(server).remove(fault);
    await Promise.all(this.watches);
    for (const { fault, what } of this.faults) if (fault.struck > 0) this.count(what, fault.struck);
  }

  private async requireRest(timeoutMs: number): Promise<void> {
    if (!(await this.untilRest(timeoutMs))) throw new Error(`not at rest after ${timeoutMs / 1000} s without faults`);
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

  private async perform(step: Step): Promise<void> {
    const { environment } = this;
    switch (step.kind) {
      case 'pause':
        return pause(step.ms);
      case 'rest':
        await this.untilRest(step.ms);
        return;
      case 'until':
        return this.await(step.ms, () => this.hasReached(step.status));
      case 'until struck':
        return this.await(step.ms, async () => ((this.standing.gate?.gate ?? this.faults.at(-1)?.fault)?.struck ?? 1) > 0);
      case 'alert':
        return this.alert(step);
      case 'replay': {
        const delivery = this.lastDelivery;
        if (!delivery) return;
        this.count('replays', step.times);
        await Promise.all(Array.from({ length: step.times }, () => this.deliver(delivery.text, delivery.webhookId)));
        return;
      }
      case 'conflict': {
        if (!this.lastDelivery) return;
        const { webhookId, text } = this.lastDelivery;
        await this.deliver(JSON.stringify({ ...JSON.parse(text), spend: 99.5 }), webhookId);
        return;
      }
      case 'use up': {
        const team = await this.team();
        if (team?.max_budget) await this.spend(Math.max(0, team.max_budget - team.spend) + step.over);
        return;
      }
      case 'spend':
        return this.spend(step.dollars);
      case 'settings': {
        this.most.target = Math.max(this.most.target, Number(step.change.target_balance ?? 0));
        this.most.minimum = Math.max(this.most.minimum, Number(step.change.minimum_balance ?? 0));
        this.most.daily = Math.max(this.most.daily, step.change.max_daily_recharges ?? 0);
        // A raised minimum may be a crossing without any spending.
        if (step.change.minimum_balance) this.crossings++;
        return this.operate('patch', '', step.change);
      }
      case 'suspend':
        return this.operate('post', '/suspend', {});
      case 'resume':
        return this.operate('post', '/resume', {});
      case 'hold':
        return this.hold(step.scope);
      case 'release':
        return this.release(step.reasons);
      case 'sweep':
        return environment.sweep(this.organizationId);
      case 'time':
        return this.pass(step.minutes * MINUTE_MS);
      case 'refuse raises':
        return this.refuseRaises(step.of);
      case 'take raises':
        return this.takeRaises();
      case 'wrong mode':
        this.standing.unknown = environment.stripeServer.faults.add({
          ...CALLS['read the customer'],
          times: ALWAYS,
          action: UNKNOWN_CUSTOMER,
        });
        return;
      case 'right mode':
        return this.knowCustomers();
      case 'gate': {
        const { server, method, path } = CALLS[step.call];
        const contains = server === 'stripe' ? this.customerId : this.teamId;
        const gate = this.boardOf(server).add({ method, path, contains, times: ALWAYS, action: { kind: 'hold' } });
        this.standing.gate = { gate, server };
        return;
      }
      case 'open the gate':
        return this.openGate();
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
        return this.editBudget(step.by);
      case 'delete team':
        this.teamDeleted = true;
        await environment.litellm.post('/team/delete', { team_ids: [this.teamId] });
        return;
      case 'cancel':
        return this.cancel();
      case 'prune keys':
        return environment.pruneIdempotencyKeys();
      case 'fault':
        return this.arm(step);
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

  private async alert({ event, proof, copies, tells }: StepOf<'alert'>): Promise<void> {
    const team = await this.team();
    const { budget, spend } = this.schedule.start;
    const told = tells === 'the first budget' || !team ? { max_budget: budget, spend } : team;
    const ahead = tells === 'spend to come' ? 1_000 : 0;
    if (copies > 1) this.count('duplicates', copies - 1);
    await Promise.all(
      Array.from({ length: copies }, async (_, copy) => {
        const body = { ...alertBody(this.teamId), event, max_budget: told.max_budget, spend: told.spend + ahead + copy / 1_000 };
        const text = JSON.stringify(body);
        if (proof === 'Standard Webhooks') {
          const webhookId = `msg_${randomBytes(8).toString('hex')}`;
          this.lastDelivery = { webhookId, text };
          await this.deliver(text, webhookId);
        } else {
          await this.deliver(text, null, proof === 'token');
        }
      }),
    );
  }

  /** Sends until it is taken, as LiteLLM does with every further request that it refuses. */
  private async deliver(text: string, webhookId: string | null, byToken = false): Promise<void> {
    const proof = webhookId
      ? standardWebhookHeaders(text, webhookId)
      : { 'X-LiteLLM-Signature': `sha256=${createHmac('sha256', HMAC_SECRET).update(text).digest('hex')}` };
    const query = byToken ? `?token=${URL_TOKEN}` : '';
    const answer: AxiosResponse = await this.persist('an alert is taken', async () => {
      const answered = await this.environment.api.post(`/webhooks/litellm/limit-exceeded${query}`, text, {
        headers: { 'content-type': 'application/json', ...(byToken ? {} : proof) },
      });
      if (answered.status >= 500) throw new Error(`${answered.status} ${JSON.stringify(answered.data)}`);
      return answered;
    });
    const { event_id: eventId, status: receipt } = answer.data ?? {};
    this.answers.push({ webhookId, status: answer.status, eventId, receipt });
    if (receipt === 'accepted') this.lastEventId = eventId;
  }

  private async spend(dollars: number): Promise<void> {
    this.crossings++;
    await axios.post(
      `${this.environment.litellmServer.url}/_sandbox/teams/${this.teamId}/spend`,
      { amount: dollars },
      { validateStatus: () => true }, // the team may be gone
    );
  }

  private async editBudget(by: number | 'unlimited'): Promise<void> {
    const team = await this.team();
    if (!team || team.max_budget === null) return;
    const budget = by === 'unlimited' ? null : micros(team.max_budget + by);
    this.edits.push(budget);
    this.crossings++;
    await this.environment.litellm.post('/team/update', { team_id: this.teamId, max_budget: budget });
  }

  /** The team as LiteLLM's database shows it; undefined when it is deleted. */
  async team(): Promise<Team | undefined> {
    const { status, data } = await this.environment.litellm.get('/team/info', { params: { team_id: this.teamId } });
    return status === 200 ? data.team_info : undefined;
  }

  private async operate(method: 'patch' | 'post', route: string, body: unknown): Promise<void> {
    await this.persist('an operator is heard', async () => {
      const { status, data } = await this.environment.api[method](`/api/v1/organizations/${this.organizationId}${route}`, body);
      if (status >= 500) throw new Error(`${status} ${JSON.stringify(data)}`);
    });
  }

  private async hold(scope: 'organization' | 'service'): Promise<void> {
    const subject = scope === 'service' ? '' : this.organizationId;
    await this.persist('a hold is opened', async () => {
      const { status, data } = await this.environment.api.post('/api/v1/holds', { scope, subject, reason: 'look at this first' });
      // Held already, by the run or by an attempt whose answer was lost.
      if (status !== 201 && status !== 409) throw new Error(`${status} ${JSON.stringify(data)}`);
    });
  }

  private async release(reasons: readonly HoldReason[]): Promise<void> {
    const ids = this.all.map(({ organizationId }) => organizationId);
    await this.persist('holds are released', async () => {
      const { rows } = await this.environment.sql.query<{ id: string }>(
        `select id from hold where released_at is null and reason = any ($1) and (organization_id = any ($2) or scope = 'service' and $3)`,
        [reasons, ids, playsAlone(this.schedule)],
      );
      for (const { id } of rows) {
        const { status, data } = await this.environment.api.post(`/api/v1/holds/${id}/release`, {
          reason: 'it was looked at',
          by: OPERATOR,
        });
        // Ended already, by an attempt whose answer was lost or by the service itself.
        if (status !== 200 && status !== 409) throw new Error(`${status} ${JSON.stringify(data)}`);
      }
    });
  }

  /** Time that passes while something is open would be judged by two clocks: then none does. */
  private async pass(ms: number): Promise<void> {
    if (!(await this.untilRest(LEAP_REST_MS))) return this.note('something is open, so no time passes');
    const ids = playsAlone(this.schedule) ? null : this.all.map(({ organizationId }) => organizationId);
    const { sql } = this.environment;
    const mark = await this.persist('the time is read', () => this.clock.mark(sql, this.organizationId));
    this.count('leaps of time');
    await this.persist('time passes', () => this.clock.leap(sql, { ms, whose: ids, mark }));
  }

  private refuseRaises(of: 'the team' | 'everybody'): void {
    const whose = of === 'the team' ? { contains: this.teamId, action: CAPPED } : { action: FORBIDDEN };
    this.standing.refusal = this.environment.litellmServer.faults.add({ ...CALLS['write the budget'], times: ALWAYS, ...whose });
    this.refusals.push({ of, from: Date.now(), to: Number.POSITIVE_INFINITY });
  }

  private takeRaises(): void {
    const [{ refusal }, last] = [this.standing, this.refusals.at(-1)];
    if (!refusal || !last) return;
    this.environment.litellmServer.faults.remove(refusal);
    last.to = Math.min(last.to, Date.now());
  }

  private knowCustomers(): void {
    const { unknown } = this.standing;
    if (unknown) this.environment.stripeServer.faults.remove(unknown);
  }

  private openGate(): void {
    const { gate } = this.standing;
    if (gate) this.boardOf(gate.server).remove(gate.gate);
    delete this.standing.gate;
  }

  private async cancel(): Promise<void> {
    if (!this.lastEventId) return;
    const handle = this.environment.temporal.workflow.getHandle(`recharge/${this.lastEventId}`);
    // Not started yet, ended already, or Temporal is unavailable: an operator has then missed it.
    const requested = await handle.cancel().then(
      () => true,
      () => false,
    );
    if (requested) this.count('cancellations');
  }

  private arm({ call, when, what, skip, times, ms, kills }: StepOf<'fault'>): void {
    const { server, method, path } = CALLS[call];
    const request: FaultRequest = { method, path, when, skip, times, saved: what === 'saved 500', action: actionOf(what, ms) };
    // Readiness is asked of LiteLLM as a whole.
    if (call !== 'ask for readiness') request.contains = server === 'stripe' ? this.customerId : this.teamId;
    const fault = this.boardOf(server).add(request);
    this.faults.push({ fault, what, server });
    if (what === 'delay') this.slowestCallMs = Math.max(this.slowestCallMs, ms);
    if (kills) this.watches.push(this.killWhenStruck(fault));
  }

  private async killWhenStruck(fault: Fault): Promise<void> {
    while (fault.struck === 0) {
      if (this.settling) return;
      await pause(10);
    }
    this.note('the worker is killed in the call');
    await this.environment.disturb('kill the worker', this.organizationId);
  }

  /** False when something is still open after so long. */
  private async untilRest(timeoutMs: number): Promise<boolean> {
    for (const deadline = Date.now() + timeoutMs; !(await this.atRest()); await pause(POLL_MS)) {
      if (Date.now() > deadline) return false;
    }
    return true;
  }

  /** Nothing is open that could still move by itself. */
  private async atRest(): Promise<boolean> {
    const { rows } = await this.environment.sql
      .query(
        `select (select count(*) from webhook_event where organization_id = any ($1) and not processed)
              + (select count(*) from recharge where organization_id = any ($1)
                   and status in ('reserved', 'charging', 'processing', 'charged', 'refunding')) as open`,
        [this.all.map(({ organizationId }) => organizationId)],
      )
      .catch(() => ({ rows: [{ open: '?' }] }));
    return rows[0]?.open === '0';
  }

  private async await(ms: number, moment: () => Promise<boolean>): Promise<void> {
    for (const deadline = Date.now() + ms; Date.now() < deadline && !(await moment()); ) await pause(MOMENT_MS);
  }

  private async hasReached(status: string): Promise<boolean> {
    const { rowCount } = await this.environment.sql
      .query('select 1 from recharge where organization_id = $1 and status = $2', [this.organizationId, status])
      .catch(() => ({ rowCount: 0 }));
    return rowCount !== 0;
  }

  /** Again and again until it works: the service or its database may be away for a while. */
  private async persist<T>(what: string, attempt: () => Promise<T>): Promise<T> {
    for (const deadline = Date.now() + PERSISTENCE_MS; ; ) {
      try {
        return await attempt();
      } catch (error) {
        if (Date.now() > deadline) throw new Error(`not within ${PERSISTENCE_MS / 1000} s: ${what}: ${(error as Error).message}`);
        await pause(PERSISTENCE_PAUSE_MS);
      }
    }
  }

  private boardOf(server: 'stripe' | 'litellm') {
    return (server === 'stripe' ? this.environment.stripeServer : this.environment.litellmServer).faults;
  }

  private note(what: string): void {
    this.log.push({ at: Date.now(), what });
  }

  private count(what: string, times = 1): void {
    this.tally.set(what, (this.tally.get(what) ?? 0) + times);
  }
}

/** As LiteLLM answers a key whose user may not change teams. */
const FORBIDDEN: FaultAction = {
  kind: 'respond',
  status: 403,
  body: { detail: { error: 'Only proxy admin can be used to update teams.' } },
};
/** As LiteLLM answers a budget above that of the team's LiteLLM organization. */
const CAPPED: FaultAction = {
  kind: 'respond',
  status: 400,
  body: { detail: { error: 'Team max_budget is greater than organization max_budget' } },
};
/** As Stripe answers a key of the other mode. */
const UNKNOWN_CUSTOMER: FaultAction = {
  kind: 'respond',
  status: 404,
  body: {
    error: {
      type: 'invalid_request_error',
      code: 'resource_missing',
      param: 'id',
      message: 'No such customer; a similar object exists in live mode, but a test mode key was used to make this request.',
    },
  },
};

function actionOf(what: Misfortune, ms: number): FaultAction {
  const respond = (status: number, error: object): FaultAction => ({ kind: 'respond', status, body: { error } });
  switch (what) {
    case '500':
      return respond(500, { type: 'api_error', message: 'An unknown error occurred' });
    case 'saved 500':
      return { kind: 'respond', status: 500 };
    case '409':
      return respond(409, { type: 'idempotency_error', code: 'idempotency_key_in_use', message: 'in use' });
    case '429':
      return respond(429, { type: 'invalid_request_error', code: 'rate_limit', message: 'slow down' });
    case 'HTML':
      return { kind: 'respond', status: 200, body: '<html>hello</html>' };
    case 'half an answer':
      return { kind: 'cut_body' };
    case 'reset':
      return { kind: 'reset' };
    case 'delay':
      return { kind: 'delay', ms };
    case 'hang':
      return { kind: 'hang', after_headers: ms > 200 };
  }
}

function micros(dollars: number): number {
  return Math.round(dollars * 1e6) / 1e6;
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
