/** Databases on the PostgreSQL that the tests share. */
import { randomBytes } from 'node:crypto';
import pg from 'pg';

/** A database with every migration applied, which the global set-up makes. */
export const TEMPLATE_DATABASE = 'bill_template';

/** Makes a database of its own with every migration applied, and returns its URL. */
export function migratedDatabase(): Promise<string> {
  return createDatabase(`test_${randomBytes(6).toString('hex')}`, TEMPLATE_DATABASE);
}

/** Makes a database, a copy of `template` if one is named, and returns its URL. */
export async function createDatabase(name: string, template?: string): Promise<string> {
  const url = new URL(process.env['TEST_POSTGRES_URL'] ?? '');
  const client = new pg.Client({ connectionString: url.href });
  await client.connect();
  await client.query(`create database ${client.escapeIdentifier(name)} ${template ? `template ${client.escapeIdentifier(template)}` : ''}`);
  await client.end();
  url.pathname = `/${name}`;
  return url.href;
}
