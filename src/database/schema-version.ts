/** Which migrations the database has, beside those of this version of the code: the files in `migrations/`. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { EntityManager } from '@mikro-orm/postgresql';

export const MIGRATIONS_FOLDER = join(import.meta.dirname, 'migrations');
export const MIGRATION_TABLE = 'bill_migration';

/** How the tables differ from what this version of the code was written for. */
export type SchemaDifference = {
  /** Migrations that the database does not have. */
  missing: string[];
  /** Migrations of a newer version. */
  unknown: string[];
};

/** The names of this version's migrations, in their order: each is that of its file. */
export function knownMigrations(): string[] {
  const files = readdirSync(MIGRATIONS_FOLDER).filter((file) => file.endsWith('.ts'));
  return files.map((file) => file.replace(/\.ts$/, '')).sort();
}

export async function differenceIn(em: EntityManager): Promise<SchemaDifference> {
  const [table] = await em.execute<{ exists: boolean }[]>('select to_regclass(?) is not null as exists', [MIGRATION_TABLE]);
  const rows = table?.exists ? await em.execute<{ name: string }[]>(`select name from ${MIGRATION_TABLE} order by id`) : [];
  const applied = rows.map(({ name }) => name);
  const known = knownMigrations();
  return {
    missing: known.filter((name) => !applied.includes(name)),
    unknown: applied.filter((name) => !known.includes(name)),
  };
}
