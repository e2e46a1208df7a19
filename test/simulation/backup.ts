/**
 * A backup of the database and of LiteLLM, of one organization alone: the database is shared with other runs, which
 * nobody restores.
 */
import type { Pool, PoolClient } from 'pg';
import { ACCOUNTS, type TransferKind } from '../../src/domain/ledger.ts';
import type { Team } from './litellm-side.ts';

/** What is stored of an organization, by what says whose it is; a table that says so by another one comes before it. */
const TABLES: readonly (readonly [table: string, whose: string])[] = [
  ['organization_balance_config', 'c_organization_id'],
  ['webhook_delivery', '(select organization_id from webhook_event e where e.id = event_id)'],
  ['webhook_event', 'organization_id'],
  ['recharge', 'organization_id'],
  ['ledger_transfer', 'organization_id'],
  ['reversal', 'organization_id'],
  ['hold', 'organization_id'],
  ['card_attempt', 'organization_id'],
  ['refusal', 'organization_id'],
  ['balance_sample', 'organization_id'],
  ['outbound_event', 'organization_id'],
];

/** `rows`: each table's, as JSON that PostgreSQL has written. `answers`: alerts that were answered before it. */
export type Backup = { at: number; rows: string; team: Team | undefined; answers: number };

/** The organization's rows at one moment. */
export async function rowsOf(sql: Pool, organizationId: string): Promise<string> {
  const each = TABLES.map(
    ([table, whose]) => `'${table}', (select coalesce(jsonb_agg(to_jsonb(t)), '[]') from ${table} t where ${whose} = $1)`,
  );
  const { rows } = await sql.query<{ rows: string }>(`select jsonb_build_object(${each.join(', ')})::text as rows`, [organizationId]);
  return rows[0]?.rows ?? '{}';
}

/** The organization's rows are those of the backup again; nobody else's change. In a transaction of the caller. */
export async function restoreRows(connection: PoolClient, organizationId: string, rows: string): Promise<void> {
  // As somebody whom neither privilege nor trigger stops.
  await connection.query("set local session_replication_role = 'replica'");
  for (const [table, whose] of TABLES) {
    await connection.query(`delete from ${table} where ${whose} = $1`, [organizationId]);
    await connection.query(
      `insert into ${table} overriding system value select * from jsonb_populate_recordset(null::${table}, $1::jsonb -> '${table}')`,
      [rows],
    );
  }
}

/** The quota that the ledger of a backup has granted and not taken back, in dollars. */
export function grantedIn({ rows }: Backup): number {
  const { ledger_transfer: transfers }: { ledger_transfer: { kind: TransferKind; quota_micros: number }[] } = JSON.parse(rows);
  return transfers.reduce((sum, { kind, quota_micros: micros }) => {
    const { creditAccount, debitAccount } = ACCOUNTS[kind];
    const sign = creditAccount === 'granted' ? 1 : debitAccount === 'granted' ? -1 : 0;
    return sum + (sign * micros) / 1e6;
  }, 0);
}
