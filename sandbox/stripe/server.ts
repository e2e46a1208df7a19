/**
 * The Stripe stand-in: another company's server, in memory, with the part of Stripe's API that taking and
 * returning money off-session needs. The knobs under `/_sandbox/` are what a cardholder, a bank, time or an
 * operator would do.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Answer, SandboxRequest } from '../exchange.ts';
import type { FaultAction, FaultBoard } from '../faults.ts';
import { type SandboxServer, serveSandbox } from '../http.ts';
import { StateFile } from '../state-file.ts';
import { Account, type AccountState, API_VERSION } from './account.ts';
import { seedCustomer } from './customers.ts';
import { closeDispute, openDispute } from './disputes.ts';
import { warnOfFraud } from './early-fraud-warnings.ts';
import { errorAnswer, StripeError } from './errors.ts';
import { expand, readExpansions } from './expand.ts';
import { parseForm, parseJson } from './form.ts';
import { type Execution, IdempotencyLayer, type SavedAnswer, type SavedKey } from './idempotency.ts';
import { SecretKeys } from './keys.ts';
import { newId, type PaymentIntent, type StripeEvent } from './objects.ts';
import { Parameters } from './parameters.ts';
import { completeAuthentication, settlePaymentIntent } from './payment-attempts.ts';
import { changePaymentMethod } from './payment-methods.ts';
import { concludeRefund, setRefundMode } from './refunds.ts';
import { API, type Endpoint, type Route, route } from './routes.ts';
import { addWebhookEndpoint, type Delivery, WebhookSender } from './webhooks.ts';

/** `/_sandbox/state` shows the newest this many requests. */
const MAX_REQUEST_LOG = 5000;

export type StripeOptions = {
  /** TCP port on loopback; 0 takes a free one. */
  port: number;
  /** Keeps the state in this JSON file; absent keeps it in memory. */
  stateFile?: string;
  /** An endpoint for all events, beside those that the API creates. */
  webhook?: { url: string; secret: string };
  /** Bank debits succeed after this long by themselves; absent waits for the knob. */
  settleAfterMs?: number;
  /** Every API call takes this long, its idempotency key in use meanwhile; 0 when absent. */
  latencyMs?: number;
};

export type RequestLogEntry = {
  request_id: string;
  method: string;
  path: string;
  idempotency_key: string | null;
  status: number;
  replayed: boolean;
};

/** What `GET /_sandbox/state` answers. */
export type StripeState = AccountState & {
  /** `status` is null while the first request runs. */
  idempotency_keys: { key: string; first_request: string; created_ms: number; status: number | null }[];
  revoked_keys: string[];
  deliveries: Delivery[];
  requests: RequestLogEntry[];
};

type SavedState = AccountState & { idempotency_keys: SavedKey[]; revoked_keys: string[] };

/** A request on its way through. `key` is its idempotency key, which only a POST has. */
type Call = { request: SandboxRequest; requestId: string; key: string | null; faults: FaultBoard };

/** The id of the endpoint that the options name: one start's replaces the last one's in a state file. */
const OPTION_ENDPOINT_ID = 'we_option';

/**
 * Starts it.
 *
 * @throws the listen error, or for a state file that is not JSON.
 */
export async function startStripe(options: StripeOptions): Promise<SandboxServer> {
  const sandbox = new StripeSandbox(options);
  const server = await serveSandbox({
    port: options.port,
    handle: (request, faults) => sandbox.handle(request, faults),
    state: () => sandbox.state(),
    about: (request) => sandbox.customerOf(request),
  });
  return {
    ...server,
    close: async () => {
      await server.close();
      sandbox.stop();
    },
  };
}

class StripeSandbox {
  private readonly webhooks = new WebhookSender();
  private readonly account = new Account((event) => this.onEvent(event));
  private readonly idempotency = new IdempotencyLayer();
  private readonly keys = new SecretKeys();
  private readonly requests: RequestLogEntry[] = [];
  private readonly settlements = new Set<NodeJS.Timeout>();
  private readonly file: StateFile<SavedState>;
  private readonly options: StripeOptions;

  /** Each takes the JSON object beside it; an absent field has a default. */
  private readonly knobs: Route[] = [
    ['POST', '/_sandbox/customers/:id', seedCustomer], // as POST /v1/customers
    ['POST', '/_sandbox/payment_intents/:id/settle', settlePaymentIntent], // {outcome: 'succeeded' | 'failed'}
    ['POST', '/_sandbox/payment_intents/:id/complete_authentication', completeAuthentication], // {outcome: 'succeeded' | 'failed'}
    ['POST', '/_sandbox/payment_methods/:id', changePaymentMethod], // {behaves_like, fingerprint, exp_month, …}: see there
    ['POST', '/_sandbox/refunds/mode', setRefundMode], // {status: 'succeeded' | 'pending'}
    ['POST', '/_sandbox/refunds/:id', concludeRefund], // {status: 'succeeded' | 'failed', failure_reason}
    ['POST', '/_sandbox/disputes', openDispute], // {payment_intent, amount, reason}
    ['POST', '/_sandbox/disputes/:id', closeDispute], // {status: 'won' | 'lost'}
    ['POST', '/_sandbox/charges/:id/early_fraud_warning', warnOfFraud], // {fraud_type, actionable, with_payment_intent: boolean}
    ['POST', '/_sandbox/keys', (_, parameters) => this.revokeKeys(parameters)], // {revoked: ['sk_test_…']}
    ['POST', '/_sandbox/webhooks', (_, parameters) => this.switchWebhooks(parameters)], // {enabled: boolean}
    ['POST', '/_sandbox/events/:id/resend', (account, _, id) => this.send(account.events.get(id))],
    ['POST', '/_sandbox/idempotency/prune', () => this.idempotency.prune()],
  ];

  constructor(options: StripeOptions) {
    this.options = options;
    const saved = StateFile.read<SavedState>(options.stateFile);
    if (saved) {
      this.account.load(saved);
      this.idempotency.load(saved.idempotency_keys);
      this.keys.revoked = new Set(saved.revoked_keys);
    }
    this.account.webhookEndpoints.remove(OPTION_ENDPOINT_ID);
    if (options.webhook) addWebhookEndpoint(this.account, { id: OPTION_ENDPOINT_ID, enabled_events: ['*'], ...options.webhook });
    this.file = new StateFile(options.stateFile, () => this.saved());
    for (const intent of this.account.paymentIntents.all()) if (intent.status === 'processing') this.settleLater(intent.id);
  }

  async handle(request: SandboxRequest, faults: FaultBoard): Promise<Answer> {
    if (request.path.startsWith('/_sandbox/')) return this.administer(request);
    const requestId = newId('req');
    const key = request.method === 'POST' ? request.headers['idempotency-key'] || null : null;
    const answer = await this.answer({ request, requestId, key, faults });
    this.log({
      request_id: requestId,
      method: request.method,
      path: request.path,
      idempotency_key: key,
      status: answer.status,
      replayed: answer.replayOf !== undefined,
    });
    return {
      status: answer.status,
      body: answer.text,
      headers: {
        'content-type': 'application/json',
        'request-id': requestId,
        'stripe-version': request.headers['stripe-version'] ?? API_VERSION,
        ...(key !== null && { 'idempotency-key': key, 'original-request': answer.replayOf ?? requestId }),
        ...(answer.replayOf !== undefined && { 'idempotent-replayed': 'true' }),
        ...answer.headers,
      },
    };
  }

  /** The customer of the intent that a request names. */
  customerOf({ path, query, body }: SandboxRequest): string | undefined {
    const intent = /pi_\w+/.exec(`${path}?${query} ${body}`)?.[0];
    return (intent && this.account.paymentIntents.find(intent)?.customer) || undefined;
  }

  state(): StripeState {
    return {
      ...this.account.state(),
      idempotency_keys: this.idempotency
        .all()
        .map(({ key, first_request, created_ms, answer }) => ({ key, first_request, created_ms, status: answer?.status ?? null })),
      revoked_keys: [...this.keys.revoked],
      deliveries: this.webhooks.deliveries,
      requests: this.requests,
    };
  }

  stop(): void {
    this.webhooks.stop();
    for (const timer of this.settlements) clearTimeout(timer);
    this.file.write();
  }

  private saved(): SavedState {
    return { ...this.account.state(), idempotency_keys: this.idempotency.all(), revoked_keys: [...this.keys.revoked] };
  }

  private async answer(call: Call): Promise<SavedAnswer & { replayOf?: string }> {
    const { request, key, requestId } = call;
    try {
      this.keys.authenticate(request.headers['authorization']);
      const { endpoint, id } = route(API, request);
      const execute = () => this.execute(call, endpoint, id);
      if (key === null) return await execute();
      return await this.idempotency.once({ key, method: request.method, path: request.path, parameters: request.body, requestId }, execute);
    } catch (error) {
      return failure(error, requestId);
    }
  }

  /**
   * Runs the endpoint, or what a saved fault has instead. Of those, `respond` before leaves no effect,
   * `respond` after hides it, and `delay` keeps the idempotency key in use.
   */
  private async execute({ request, requestId, key, faults }: Call, endpoint: Endpoint, id: string): Promise<Execution> {
    if (this.options.latencyMs) await sleep(this.options.latencyMs);
    const fault = request.method === 'POST' ? faults.strikeSaved(request) : undefined;
    if (fault?.action.kind === 'delay') await sleep(fault.action.ms);
    const imposed = fault?.action.kind === 'respond' ? imposedAnswer(fault.action, requestId) : undefined;
    if (imposed && fault?.when === 'before') return imposed;
    try {
      const parameters = new Parameters(parseForm(request.method === 'POST' ? new URLSearchParams(request.body) : request.query));
      const expansions = readExpansions(parameters);
      const result = this.account.run({ id: requestId, idempotency_key: key }, () => endpoint(this.account, parameters, id));
      return imposed ?? { status: 200, text: JSON.stringify(expand(this.account, result, expansions)), executed: true };
    } catch (error) {
      return imposed ?? failure(error, requestId);
    } finally {
      if (request.method !== 'GET') this.file.changed();
    }
  }

  private administer(request: SandboxRequest): Answer {
    try {
      const { endpoint, id } = route(this.knobs, request);
      return { status: 200, body: endpoint(this.account, new Parameters(parseJson(request.body)), id) };
    } catch (error) {
      const { status, text } = failure(error, newId('req'));
      return { status, body: text, headers: { 'content-type': 'application/json' } };
    } finally {
      this.file.changed();
    }
  }

  private onEvent(event: StripeEvent): void {
    this.send(event);
    if (event.type === 'payment_intent.processing') this.settleLater((event.data.object as PaymentIntent).id);
  }

  private send(event: StripeEvent): StripeEvent {
    this.webhooks.send(event, this.account.webhookEndpoints.all());
    return event;
  }

  private settleLater(id: string): void {
    if (this.options.settleAfterMs === undefined) return;
    const timer = setTimeout(() => {
      this.settlements.delete(timer);
      // A knob may have been faster.
      if (this.account.paymentIntents.get(id).status !== 'processing') return;
      settlePaymentIntent(this.account, new Parameters({ outcome: 'succeeded' }), id);
      this.file.changed();
    }, this.options.settleAfterMs);
    this.settlements.add(timer);
  }

  /** Replaces the list of revoked keys. */
  private revokeKeys(parameters: Parameters): { revoked: string[] } {
    const revoked = parameters.texts('revoked') ?? [];
    this.keys.revoked = new Set(revoked);
    return { revoked };
  }

  private switchWebhooks(parameters: Parameters): { enabled: boolean } {
    this.webhooks.enabled = parameters.boolean('enabled') ?? true;
    return { enabled: this.webhooks.enabled };
  }

  private log(entry: RequestLogEntry): void {
    this.requests.push(entry);
    if (this.requests.length > MAX_REQUEST_LOG) this.requests.shift();
  }
}

/** What a saved fault answers: its own body, or the one that Stripe has for a failure of its own. */
function imposedAnswer(action: Extract<FaultAction, { kind: 'respond' }>, requestId: string): Execution {
  const body = action.body ?? errorAnswer({ type: 'api_error', message: 'An unknown error occurred.' }, requestId);
  return {
    status: action.status,
    text: typeof body === 'string' ? body : JSON.stringify(body),
    ...(action.headers && { headers: action.headers }),
    executed: true,
  };
}

/** @throws whatever is not Stripe's refusal of the request. */
function failure(error: unknown, requestId: string): Execution {
  if (error instanceof SyntaxError)
    return failure(new StripeError(400, { type: 'invalid_request_error', message: error.message }, false), requestId);
  if (!(error instanceof StripeError)) throw error;
  return { status: error.status, text: JSON.stringify(errorAnswer(error.body, requestId)), executed: error.executed };
}
