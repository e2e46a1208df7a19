/** An operator at a terminal, who has set what the service's address and keys are. */
import { expect } from '@jest/globals';
import { HMAC_SECRET } from './alerts.ts';
import { type Ended, runBill } from './processes.ts';
import { ADMIN_API_KEY, type World } from './world.ts';

export class Operator {
  private readonly world: World;

  constructor(world: World) {
    this.world = world;
  }

  /** A `bill` command, to its end. */
  bill(args: string[], env: Record<string, string> = {}): Promise<Ended> {
    return runBill(args, { PUBLIC_URL: this.world.apiUrl, ADMIN_API_KEY, WEBHOOK_HMAC_SECRETS: HMAC_SECRET, ...env });
  }

  /** What a command that has to succeed prints with `--json`. */
  async json(...args: string[]): Promise<Record<string, unknown>> {
    const ended = await this.bill([...args, '--json']);
    expect(ended).toMatchObject({ code: 0, err: '' });
    return JSON.parse(ended.out);
  }
}
