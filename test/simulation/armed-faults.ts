/** What goes wrong in the calls of one organization: armed for a few of them, or standing until it is taken away. */
import type { Fault, FaultAction, FaultRequest } from '../../sandbox/faults.ts';
import type { Deeds } from './deeds.ts';
import type { Environment } from './environment.ts';
import { CALLS, type CallName, type Misfortune, type StepOf } from './schedule.ts';

type Server = 'stripe' | 'litellm';
type Standing = { fault: Fault; server: Server };

/** A fault that stands until it is taken away. */
const ALWAYS = 1e9;

export class ArmedFaults {
  private readonly environment: Environment;
  private readonly deeds: Deeds;
  private readonly whose: { customerId: string; teamId: string };
  private readonly armed: (Standing & { what: Misfortune })[] = [];
  private readonly standing = new Map<'refusal' | 'unknown customer' | 'gate' | 'hidden payments', Standing>();

  constructor(environment: Environment, deeds: Deeds, whose: { customerId: string; teamId: string }) {
    this.environment = environment;
    this.deeds = deeds;
    this.whose = whose;
  }

  arm({ call, when, what, skip, times, ms }: StepOf<'fault'>): Fault {
    const { server, method, path } = CALLS[call];
    const request: FaultRequest = { method, path, when, skip, times, saved: what === 'saved 500', action: actionOf(what, ms) };
    // Readiness is asked of LiteLLM as a whole.
    if (call !== 'ask for readiness') request.contains = this.namedBy(server);
    const fault = this.boardOf(server).add(request);
    this.armed.push({ fault, what, server });
    if (what === 'delay') this.deeds.slowestCallMs = Math.max(this.deeds.slowestCallMs, ms);
    return fault;
  }

  /** Whether the gate, or else what was armed last, has struck. */
  hasStruck(): boolean {
    return ((this.standing.get('gate') ?? this.armed.at(-1))?.fault.struck ?? 1) > 0;
  }

  /** Calls wait from now on, or the first of them. */
  closeGate({ call, when = 'before', once }: StepOf<'gate'>): void {
    const { server, method, path } = CALLS[call];
    const times = once ? 1 : ALWAYS;
    this.stand('gate', server, { method, path, when, contains: this.namedBy(server), times, action: { kind: 'hold' } });
  }

  openGate(): void {
    this.end('gate');
  }

  refuseRaises(of: 'the team' | 'everybody'): void {
    const whose = of === 'the team' ? { contains: this.whose.teamId, action: CAPPED } : { action: FORBIDDEN };
    this.stand('refusal', 'litellm', { ...callOf('write the budget'), times: ALWAYS, ...whose });
    this.deeds.refusals.push({ of, from: Date.now(), to: Number.POSITIVE_INFINITY });
  }

  takeRaises(): void {
    const last = this.deeds.refusals.at(-1);
    if (this.end('refusal') && last) last.to = Math.min(last.to, Date.now());
  }

  /** Stripe knows no customer, as with a key of the other mode. */
  forgetCustomers(): void {
    this.stand('unknown customer', 'stripe', { ...callOf('read the customer'), times: ALWAYS, action: UNKNOWN_CUSTOMER });
  }

  knowCustomers(): void {
    this.end('unknown customer');
  }

  /** Stripe lists no payment of the customer, as right after one was made. */
  hidePayments(): void {
    const nothing = { object: 'list', data: [], has_more: false, url: '/v1/payment_intents' };
    const action: FaultAction = { kind: 'respond', status: 200, body: nothing };
    this.stand('hidden payments', 'stripe', {
      ...callOf('list the payments'),
      contains: this.whose.customerId,
      times: ALWAYS,
      action,
    });
  }

  showPayments(): void {
    this.end('hidden payments');
  }

  /** Takes all away. Returns what has struck, and how often. */
  clear(): { what: Misfortune; times: number }[] {
    this.takeRaises();
    this.knowCustomers();
    this.showPayments();
    this.openGate();
    for (const { fault, server } of this.armed) this.boardOf(server).remove(fault);
    return this.armed.filter(({ fault }) => fault.struck > 0).map(({ fault, what }) => ({ what, times: fault.struck }));
  }

  private stand(as: Parameters<typeof this.standing.set>[0], server: Server, request: FaultRequest): void {
    this.end(as);
    this.standing.set(as, { fault: this.boardOf(server).add(request), server });
  }

  /** False when there was none. */
  private end(as: Parameters<typeof this.standing.get>[0]): boolean {
    const found = this.standing.get(as);
    if (found) this.boardOf(found.server).remove(found.fault);
    return this.standing.delete(as);
  }

  private namedBy(server: Server): string {
    return server === 'stripe' ? this.whose.customerId : this.whose.teamId;
  }

  private boardOf(server: Server) {
    return (server === 'stripe' ? this.environment.stripeServer : this.environment.litellmServer).faults;
  }
}

function callOf(name: CallName): { method: string; path: string } {
  const { method, path } = CALLS[name];
  return { method, path };
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
