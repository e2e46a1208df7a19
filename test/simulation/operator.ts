/** What operators do with one organization, by the API and in the Temporal Web UI. */
import type { HoldReason } from '../../src/domain/hold.ts';
import { rechargeWorkflowId } from '../../src/temporal/starter.ts';
import type { Environment } from './environment.ts';
import { persist } from './patience.ts';

/** Who releases holds, and settles what is parked, in a run. */
export const OPERATOR = 'an operator of the run';

export class Operator {
  private readonly environment: Environment;
  private readonly organizationId: string;

  constructor(environment: Environment, organizationId: string) {
    this.environment = environment;
    this.organizationId = organizationId;
  }

  /** @param route behind the organization's own. */
  async change(method: 'patch' | 'post', route: string, body: unknown): Promise<void> {
    await persist('an operator is heard', async () => {
      const { status, data } = await this.environment.api[method](`/api/v1/organizations/${this.organizationId}${route}`, body);
      if (status >= 500) throw new Error(`${status} ${JSON.stringify(data)}`);
    });
  }

  async hold(scope: 'organization' | 'service'): Promise<void> {
    const subject = scope === 'service' ? '' : this.organizationId;
    await persist('a hold is opened', async () => {
      const { status, data } = await this.environment.api.post('/api/v1/holds', { scope, subject, reason: 'look at this first' });
      // Held already, by the run or by an attempt whose answer was lost.
      if (status !== 201 && status !== 409) throw new Error(`${status} ${JSON.stringify(data)}`);
    });
  }

  /** @param whose organizations, and the service where `ofService`. */
  async release(reasons: readonly HoldReason[], { whose, ofService }: { whose: string[]; ofService: boolean }): Promise<void> {
    await persist('holds are released', async () => {
      const { rows } = await this.environment.sql.query<{ id: string }>(
        `select id from hold where released_at is null and reason = any ($1) and (organization_id = any ($2) or scope = 'service' and $3)`,
        [reasons, whose, ofService],
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

  /** Settles every recharge that is parked. Returns their quota, in dollars. */
  async resolve(resolution: 'grant' | 'refund' | 'accept'): Promise<number> {
    return persist('what is parked is settled', async () => {
      const { rows } = await this.environment.sql.query<{ id: string; quota: number }>(
        `select id, quota_granted::float as quota from recharge where organization_id = $1 and status = 'needs_attention'`,
        [this.organizationId],
      );
      for (const { id } of rows) {
        const wanted = { resolution, reason: 'it was looked at', by: OPERATOR };
        const { status, data } = await this.environment.api.post(`/api/v1/recharges/${id}/resolve`, wanted);
        // Settled already, by an attempt whose answer was lost.
        if (status !== 200 && status !== 409) throw new Error(`${status} ${JSON.stringify(data)}`);
      }
      return rows.reduce((sum, { quota }) => sum + quota, 0);
    });
  }

  /** Cancels the run of an event. False where an operator has missed it. */
  async cancel(eventId: string): Promise<boolean> {
    // Not started yet, ended already, or Temporal is unavailable.
    return this.environment.temporal.workflow
      .getHandle(rechargeWorkflowId({ organizationId: this.organizationId, eventId }))
      .cancel()
      .then(
        () => true,
        () => false,
      );
  }
}
