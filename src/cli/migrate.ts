import type { Config, Part } from '../config.ts';
import { Database } from '../database/database.ts';
import type { Logger } from '../observability/log.ts';
import { namespaceOf, openClient } from '../temporal/connection.ts';
import { temporalErrorOf } from '../temporal/errors.ts';
import { applySchedules } from '../temporal/schedules.ts';
import { registerSearchAttributes } from '../temporal/search-attribute-setup.ts';

/** A migration may rewrite a large table, or wait for another one. */
const MIGRATION_TIMEOUT_MS = 30 * 60 * 1000;

/** What a migration uses. */
export const MIGRATION_PARTS = ['databaseUrl', 'temporal', 'logLevel'] as const satisfies Part[];
type MigrationConfig = Pick<Config, (typeof MIGRATION_PARTS)[number]>;

/**
 * Updates the database's tables and Temporal's search attributes and schedules. Idempotent, and safe on
 * several machines at once. Search attributes that the namespace refuses are named, and the rest is done.
 */
export async function migrate(config: MigrationConfig, log: Logger): Promise<void> {
  await migrateDatabase(config, log);
  await migrateTemporal(config, log).catch((error) => {
    throw temporalErrorOf(error, config.temporal);
  });
}

async function migrateDatabase(config: MigrationConfig, log: Logger): Promise<void> {
  const database = await Database.open(config.databaseUrl, { statementTimeoutMs: MIGRATION_TIMEOUT_MS });
  try {
    const applied = await database.migrate();
    log.info({ applied }, applied.length > 0 ? 'the database is migrated' : 'the database is up to date');
  } finally {
    await database.close();
  }
}

async function migrateTemporal(config: MigrationConfig, log: Logger): Promise<void> {
  const client = openClient(config.temporal);
  try {
    const { added, lacking, refusal } = await registerSearchAttributes(client, namespaceOf(config.temporal));
    if (refusal !== undefined) log.warn({ reason: refusal }, 'the namespace does not show its search attributes: none was made');
    else log.info({ added }, added.length > 0 ? 'search attributes are registered' : 'search attributes are up to date');
    for (const { name, why } of lacking) log.warn({ attribute: name, reason: why }, 'runs do without this search attribute');
    log.info({ schedules: await applySchedules(client, config.temporal.taskQueue) }, 'schedules are up to date');
  } finally {
    await client.connection.close();
  }
}
