/** Rows that a test needs and does not look at. */
import type pg from 'pg';
import { newId } from '../../src/database/ids.ts';

/** An open event of an organization, as an alert leaves it. Returns its id. */
export async function insertEvent(sql: pg.Pool, organizationId: string): Promise<string> {
  const id = newId('evt');
  await sql.query(
    `insert into webhook_event (id, source, event_type, team_id, organization_id, payload, body_sha256)
     values ($1, 'webhook', 'budget_crossed', 'team-' || $2, $2, '{}', '')`,
    [id, organizationId],
  );
  return id;
}
