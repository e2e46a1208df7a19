/**
 * The fault knobs of a stand-in. A fault names a route, how many calls it strikes, whether it strikes before or after the
 * call's effect, and what then happens to the answer.
 *
 *   curl -X POST $URL/_sandbox/faults -d '{"method":"POST","path":"/v1/payment_intents/*\/confirm","when":"after","action":{"kind":"reset"}}'
 *
 * A fault that holds keeps its calls waiting until it is taken away: `curl -X DELETE $URL/_sandbox/faults/fault_1`. What is
 * done meanwhile comes before them, however slow the machine is.
 */
import type { Answer, SandboxRequest } from './exchange.ts';

export type FaultAction =
  | { kind: 'respond'; status: number; body?: unknown; headers?: Record<string, string> }
  | { kind: 'delay'; ms: number }
  /** The call goes on, as if nothing had happened, when the fault is taken away. */
  | { kind: 'hold' }
  | { kind: 'reset' }
  | { kind: 'cut_body' }
  | { kind: 'hang'; after_headers?: boolean };

export type Fault = {
  id: string;
  /** HTTP method; absent strikes any. */
  method?: string;
  /** Request path; `*` stands for one segment, `**` for any rest. */
  path: string;
  /** Strikes only calls whose path, query, body or `about` contains this text (see SandboxRequest). */
  contains?: string;
  /** Calls to let through before the first strike; 0 when absent. */
  skip: number;
  /** Calls to strike after that; 1 when absent. */
  times: number;
  when: 'before' | 'after';
  /**
   * The answer becomes what the stand-in remembers under the call's idempotency key, so a retry sees it
   * again. Only the Stripe stand-in has such a memory, and only for `respond`.
   */
  saved: boolean;
  action: FaultAction;
  /** How often it has struck. */
  struck: number;
};

export type FaultRequest = Pick<Fault, 'path' | 'action'> &
  Partial<Pick<Fault, 'method' | 'contains' | 'skip' | 'times' | 'when' | 'saved'>>;

/** At most this many faults at a time; a test that needs more has lost count. */
const MAX_FAULTS = 1000;

const ACTIONS = ['respond', 'delay', 'hold', 'reset', 'cut_body', 'hang'];

const PATH = '/_sandbox/faults';

export class FaultBoard {
  private faults: Fault[] = [];
  private readonly held = new Map<Fault, PromiseWithResolvers<void>>();
  private nextId = 1;

  add(request: FaultRequest): Fault {
    const fault: Fault = {
      id: `fault_${this.nextId++}`,
      ...(request.method && { method: request.method.toUpperCase() }),
      path: request.path,
      ...(request.contains && { contains: request.contains }),
      skip: request.skip ?? 0,
      times: request.times ?? 1,
      when: request.when ?? 'before',
      saved: request.saved ?? false,
      action: request.action,
      struck: 0,
    };
    this.faults.push(fault);
    if (fault.action.kind === 'hold') this.held.set(fault, Promise.withResolvers());
    return fault;
  }

  /** Takes one away, struck or not. The calls that it holds go on. */
  remove(fault: Fault): void {
    this.faults = this.faults.filter((other) => other !== fault);
    this.held.get(fault)?.resolve();
    this.held.delete(fault);
  }

  /** Resolves when a fault that holds is taken away, at once for any other. */
  async released(fault: Fault): Promise<void> {
    await this.held.get(fault)?.promise;
  }

  /** Whether a request is for `administer`. */
  isAdministration({ path }: SandboxRequest): boolean {
    return path === PATH || path.startsWith(`${PATH}/`);
  }

  /** The first fault that this call meets on the wire, counted as struck. */
  strike(request: SandboxRequest): Fault | undefined {
    return this.take(request, (fault) => !fault.saved);
  }

  /** The same for a fault whose answer is to be remembered under the call's idempotency key. */
  strikeSaved(request: SandboxRequest): Fault | undefined {
    return this.take(request, (fault) => fault.saved);
  }

  /** `/_sandbox/faults`: GET lists, POST adds one, DELETE clears all, and with `/<id>` behind it one. */
  administer(request: SandboxRequest): Answer {
    if (request.method === 'GET') return { status: 200, body: { data: this.faults } };
    if (request.method === 'DELETE') {
      const id = request.path.slice(PATH.length + 1);
      for (const fault of this.faults) if (id === '' || id === fault.id) this.remove(fault);
      return { status: 200, body: { data: this.faults } };
    }
    if (request.method !== 'POST') return { status: 405, body: { error: { message: 'GET, POST or DELETE' } } };
    let wanted: FaultRequest;
    try {
      wanted = JSON.parse(request.body);
    } catch {
      return { status: 400, body: { error: { message: 'a fault is a JSON object' } } };
    }
    if (typeof wanted?.path !== 'string' || !ACTIONS.includes(wanted.action?.kind)) {
      return { status: 400, body: { error: { message: `a fault has a path and an action whose kind is one of ${ACTIONS.join(', ')}` } } };
    }
    if (this.faults.length >= MAX_FAULTS)
      return { status: 400, body: { error: { message: `${MAX_FAULTS} faults stand already: DELETE them` } } };
    return { status: 201, body: this.add(wanted) };
  }

  private take(request: SandboxRequest, eligible: (fault: Fault) => boolean): Fault | undefined {
    for (const fault of this.faults) {
      if (!eligible(fault) || fault.struck >= fault.times) continue;
      if (fault.method && fault.method !== request.method) continue;
      if (!pathMatches(fault.path, request.path)) continue;
      if (fault.contains && !textOf(request).includes(fault.contains)) continue;
      if (fault.skip > 0) {
        fault.skip--;
        continue;
      }
      fault.struck++;
      return fault;
    }
    return undefined;
  }
}

function textOf({ path, query, body, about }: SandboxRequest): string {
  return [path, query, body, about].join('\n');
}

function pathMatches(pattern: string, path: string): boolean {
  const source = pattern
    .split(/(\*\*|\*)/)
    .map((part) => (part === '**' ? '.*' : part === '*' ? '[^/]+' : part.replace(/[.+?^${}()|[\]\\]/g, '\\$&')))
    .join('');
  return new RegExp(`^${source}$`).test(path);
}
