/** Databases on the PostgreSQL that the tests share. */
import pg from 'pg';

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
