/** Whether a process may start on the database that it finds. The rule is in docs/operating.md. */
import { type Config, EX_CONFIG } from '../config.ts';
import { Database, type SchemaDifference } from '../database/database.ts';
import { describeDatabaseError, isTlsRefused } from '../database/errors.ts';
import type { Logger } from '../observability/log.ts';

/** While the database cannot be read, the next look at it. */
const LOOK_AGAIN_MS = 5_000;

/** A migration after which the version before it cannot work says so in its name, which that version can read. */
const BREAKING = /^\d+-breaking-/;

/**
 * Ends the process with 78 when the tables are older than the code, or newer and marked as incompatible, and
 * when the database is not to be had as `sslmode` asks. While it cannot be read, the process starts, and the
 * same is done as soon as it can be.
 */
export async function databaseOrExit(config: Pick<Config, 'databaseUrl'>, log: Logger): Promise<void> {
  const database = await Database.open(config.databaseUrl);
  const look = async (): Promise<boolean> => {
    try {
      judge(await database.schemaDifference(), log);
      return true;
    } catch (error) {
      exitOnTlsRefused(error);
      log.warn({ reason: describeDatabaseError(error) }, 'the database cannot be read: starting without it');
      return false;
    }
  };
  if (await look()) return database.close();
  const lookAgain = async () => {
    if (await look()) return database.close();
    setTimeout(() => void lookAgain(), LOOK_AGAIN_MS).unref();
  };
  setTimeout(() => void lookAgain(), LOOK_AGAIN_MS).unref();
}

/** No retry helps, so it ends the process as a setting that is wrong does. */
export function exitOnTlsRefused(error: unknown): void {
  if (isTlsRefused(error)) exit((error as Error).message);
}

function judge(difference: SchemaDifference, log: Logger): void {
  const refusal = refusalOf(difference);
  if (refusal !== undefined) exit(refusal);
  if (difference.unknown.length === 0) return;
  log.warn({ migrations: difference.unknown }, 'the tables are those of a newer version, which this one can work with');
}

/** Why no process of this version may start on such tables, and what to do. */
export function refusalOf({ missing, unknown }: SchemaDifference): string | undefined {
  const breaking = unknown.filter((name) => BREAKING.test(name));
  if (breaking.length > 0) {
    return `the tables are those of a newer version, and this one cannot work with them (${breaking.join(', ')}): start the newer version`;
  }
  if (missing.length > 0)
    return `the tables are older than this version (not applied: ${missing.join(', ')}): run bill migrate, then start again`;
  return undefined;
}

function exit(reason: string): never {
  console.error(`bill: ${reason}`);
  process.exit(EX_CONFIG);
}
