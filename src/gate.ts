/**
 * A bound on the calls to one dependency. Bulk work has a gate of its own beside the one of charges: what hangs
 * for bulk work holds up no charge.
 */
import { noteInTrace, traced } from './observability/tracing.ts';

/** Whose calls they are: `bulk` is sweep, synchronisation, reconciliation and retention, `money` everything else. */
export type Lane = 'money' | 'bulk';

/** How many calls run at once, and how many more may wait for their turn. */
export type GateSize = { readonly atOnce: number; readonly waiting: number };

/** What a gate has to do now, and how many calls it has refused since it was made. */
export type GateLoad = { underWay: number; waiting: number; refused: number };

/** A call as it has ended: `ok`, or the kind of its error; with the wait for its turn. */
export type CallReport = { route: string; outcome: string; seconds: number };

/** Is told of each call. */
export type CallWatcher = (call: CallReport) => void;

type Call = { dependency: 'stripe' | 'litellm'; route: string; watch: CallWatcher; kindOf: (error: unknown) => string };

/** Makes a call, as a span, and reports how it has ended. @param call.kindOf the kind of the error that it ends with. */
export function reported<T>({ dependency, route, watch, kindOf }: Call, call: () => Promise<T>): Promise<T> {
  const span = { name: `${dependency} ${route}`, kind: 'client', attributes: { 'peer.service': dependency, 'bill.route': route } } as const;
  const failureOf = (error: unknown) => ({ type: kindOf(error), attributes: { 'bill.status_class': statusClassOf(error) } });
  const work = async () => {
    const answer = await timed({ route, watch, kindOf }, call);
    noteInTrace({ 'bill.status_class': '2xx' });
    return answer;
  };
  return traced(span, work, failureOf);
}

/** Such as `5xx`, where the dependency has answered. */
function statusClassOf(error: unknown): string | undefined {
  const { status } = error as { status?: unknown };
  return typeof status === 'number' ? `${Math.floor(status / 100)}xx` : undefined;
}

async function timed<T>({ route, watch, kindOf }: Omit<Call, 'dependency'>, call: () => Promise<T>): Promise<T> {
  const started = performance.now();
  const report = (outcome: string) => watch({ route, outcome, seconds: (performance.now() - started) / 1000 });
  try {
    const answer = await call();
    report('ok');
    return answer;
  } catch (error) {
    report(kindOf(error));
    throw error;
  }
}

/** The call was not made: nothing has changed, and it can be tried again. */
export class GateError extends Error {
  override name = 'GateError';
}

export class Gate {
  private readonly size: GateSize;
  private underWay = 0;
  private refused = 0;
  /** In the order in which they came. */
  private readonly waiting = new Set<() => void>();

  constructor(size: GateSize) {
    this.size = size;
  }

  get load(): GateLoad {
    return { underWay: this.underWay, waiting: this.waiting.size, refused: this.refused };
  }

  /**
   * Runs `work` when it is its turn: at once, or in the order in which the calls came.
   *
   * @param deadline ends the wait. Whether it also ends `work` is up to the caller.
   * @throws GateError at once when the gate and its queue are full, or when the deadline comes before the turn;
   *   `work` then never runs. Else whatever `work` throws.
   */
  async through<T>(work: () => Promise<T>, deadline: AbortSignal): Promise<T> {
    await this.turn(deadline).catch((error) => {
      this.refused++;
      throw error;
    });
    try {
      return await work();
    } finally {
      this.leave();
    }
  }

  private async turn(deadline: AbortSignal): Promise<void> {
    const { atOnce, waiting } = this.size;
    if (deadline.aborted) throw new GateError('its time was over before its turn');
    if (this.underWay < atOnce) {
      this.underWay++;
      return;
    }
    if (this.waiting.size >= waiting) throw new GateError(`${atOnce} calls are under way and ${waiting} wait`);
    await new Promise<void>((resolve, reject) => {
      const enter = () => {
        deadline.removeEventListener('abort', giveUp);
        resolve();
      };
      const giveUp = () => {
        this.waiting.delete(enter);
        reject(new GateError(`${atOnce} calls are under way, and its turn has not come in time`));
      };
      deadline.addEventListener('abort', giveUp, { once: true });
      this.waiting.add(enter);
    });
  }

  /** The next one takes the place over. */
  private leave(): void {
    const [next] = this.waiting;
    if (!next) {
      this.underWay--;
      return;
    }
    this.waiting.delete(next);
    next();
  }
}
