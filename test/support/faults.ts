/**
 * What goes wrong between the service and the stand-ins: the calls, what happens to them, and the fault that
 * stands.
 */
import axios from 'axios';
import type { Fault, FaultRequest } from '../../sandbox/faults.ts';
import { eventually } from './time.ts';

export const READ_BUDGET = { method: 'GET', path: '/team/info' } as const;
export const WRITE_BUDGET = { method: 'POST', path: '/team/update' } as const;
export const CREATE_INTENT = { method: 'POST', path: '/v1/payment_intents' } as const;
export const READ_INTENT = { method: 'GET', path: '/v1/payment_intents/*' } as const;
export const CONFIRM = { method: 'POST', path: '/v1/payment_intents/*/confirm' } as const;

/** The call waits until the fault is removed. */
export const HOLD = { kind: 'hold' } as const;
export const RESET = { kind: 'reset' } as const;
export const UNAVAILABLE = { kind: 'respond', status: 503, body: {} } as const;

/** Every call, as long as the fault stands. */
export const ALWAYS = 100_000;

/** A fault that was set at a stand-in. */
export class StandingFault {
  private readonly url: string;
  private readonly id: string;
  private readonly what: string;

  constructor(url: string, { id, method = '', path, action }: Fault) {
    this.url = url;
    this.id = id;
    this.what = `${method} ${path} meets ${action.kind}`;
  }

  static async set(url: string, wish: FaultRequest): Promise<StandingFault> {
    return new StandingFault(url, (await axios.post(`${url}/_sandbox/faults`, wish)).data);
  }

  /** How often it has struck. */
  async strikes(): Promise<number> {
    const faults: Fault[] = (await axios.get(`${this.url}/_sandbox/faults`)).data.data;
    return faults.find(({ id }) => id === this.id)?.struck ?? 0;
  }

  /** Waits until it has struck so often at least. */
  async struck(times = 1): Promise<void> {
    await eventually(async () => (await this.strikes()) >= times, `${this.what} ${times} times`);
  }

  /** The calls that it holds go on. */
  async remove(): Promise<void> {
    await axios.delete(`${this.url}/_sandbox/faults/${this.id}`);
  }
}
