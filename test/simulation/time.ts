/** The time of a run: PostgreSQL's and Stripe's go on as ever, and in between days pass at once. */
import type { Pool, PoolClient } from 'pg';
import { eventually } from '../support/time.ts';

/** What times are kept of an organization, by the column that says whose they are. */
const TIMES: readonly (readonly [table: string, whose: string, columns: readonly string[]])[] = [
  ['hold', 'organization_id', ['since', 'until', 'released_at']],
  ['card_attempt', 'organization_id', ['begun_at', 'ended_at']],
  ['recharge', 'organization_id', ['created_at', 'updated_at']],
  ['webhook_event', 'organization_id', ['received_at', 'dispatched_at', 'processed_at']],
  ['reversal', 'organization_id', ['created_at', 'updated_at']],
  ['balance_sample', 'organization_id', ['at']],
  ['refusal', 'organization_id', ['since', 'last_at']],
  ['organization_balance_config', 'c_organization_id', ['litellm_seen_at', 'low_since']],
];

/** The organization's age as it is stored before a leap. */
export type Mark = { organizationId: string; madeAt: string };

export type Leap = {
  ms: number;
  whose: readonly string[] | null;
  mark: Mark;
  restoring?: { rows: (connection: PoolClient) => Promise<void>; madeAt: number } | undefined;
};

export class Clock {
  private readonly leaps: { at: number; ms: number }[] = [];

  /**
   * So much time passes for these organizations: what the service has stored of them is that much older.
   * Nothing of them may be open.
   *
   * @param whose null for everybody, and the holds of the service.
   * @param mark of this leap, of an organization that it concerns: made again with it, it does nothing.
   * @param restoring puts rows of an earlier moment back first, in the same transaction.
   */
  async leap(sql: Pool, { ms, whose, mark, restoring }: Leap): Promise<void> {
    // Stripe tells whole seconds: what happens in this one comes after the leap.
    const second = Math.floor(Date.now() / 1_000);
    await eventually(async () => Math.floor(Date.now() / 1_000) > second, 'the next second begins');
    const at = Date.now();
    const connection = await sql.connect();
    try {
      await connection.query('begin');
      const marked = await connection.query(
        'select 1 from organization_balance_config where c_organization_id = $1 and created_at::text = $2 for update',
        [mark.organizationId, mark.madeAt],
      );
      if (marked.rowCount === 1) {
        await restoring?.rows(connection);
        await makeOlder(connection, ms + (restoring ? this.leaptSince(restoring.madeAt) : 0), whose);
        await connection.query(
          `update organization_balance_config set created_at = $3::timestamptz - $1 * interval '1 millisecond' where c_organization_id = $2`,
          [ms, mark.organizationId, mark.madeAt],
        );
      }
      await connection.query('commit');
      this.leaps.push({ at, ms });
    } finally {
      connection.release(true);
    }
  }

  private leaptSince(instant: number): number {
    return this.leaps.reduce((sum, { at, ms }) => (at >= instant ? sum + ms : sum), 0);
  }

  async mark(sql: Pool, organizationId: string): Promise<Mark> {
    const { rows } = await sql.query<{ at: string }>(
      'select created_at::text as at from organization_balance_config where c_organization_id = $1',
      [organizationId],
    );
    return { organizationId, madeAt: rows[0]?.at ?? '' };
  }

  /** The run's time of an instant in milliseconds, of which everything in its second has been. */
  of(instant: number): number {
    const second = Math.floor(instant / 1_000);
    return this.leaps.reduce((time, { at, ms }) => (Math.floor(at / 1_000) <= second ? time + ms : time), instant);
  }

  /** The run's time of what PostgreSQL has stored, however old it was made since. */
  ofStored(stored: Date): number {
    return this.leaps.reduce((time, { ms }) => time + ms, stored.getTime());
  }
}

async function makeOlder(connection: PoolClient, ms: number, whose: readonly string[] | null): Promise<void> {
  for (const [table, owner, columns] of TIMES) {
    const older = columns.map((column) => `${column} = ${column} - $1 * interval '1 millisecond'`).join(', ');
    await connection.query(`update ${table} set ${older} where $2::text[] is null or ${owner} = any ($2)`, [ms, whose]);
  }
}
