/** Applies migrations: what `bill migrate` does to the database, and nothing else loads. */
import { Migration, Migrator } from '@mikro-orm/migrations';
import type { MikroORM } from '@mikro-orm/postgresql';
import { differenceIn, knownMigrations, MIGRATION_TABLE, MIGRATIONS_FOLDER } from './schema-version.ts';

/** Any constant serves; it has to be the same in every process. */
const MIGRATION_LOCK = 20260101;

type MigrationClass = new (...given: ConstructorParameters<typeof Migration>) => Migration;

/**
 * Applies outstanding migrations and returns their names. Safe from several processes at once: one waits
 * for the other. Each is a transaction of its own, which has the lock and is all that has it: a lock of one
 * migration must not last as long as the work of the next, and a pooler keeps nothing for longer.
 */
export async function migrate(orm: MikroORM): Promise<string[]> {
  const migrator = await prepareMigrator(orm);
  const applied: string[] = [];
  for (;;) {
    const name = await migrateNext(orm, migrator);
    if (name === undefined) return applied;
    applied.push(name);
  }
}

async function migrateNext(orm: MikroORM, migrator: Migrator): Promise<string | undefined> {
  return orm.em.fork().transactional(async (em) => {
    await em.execute('select pg_advisory_xact_lock(?)', [MIGRATION_LOCK]);
    const [name] = (await differenceIn(em)).missing;
    const transaction = em.getTransactionContext();
    if (name !== undefined) await migrator.up({ migrations: [name], transaction });
    return name;
  });
}

/**
 * MikroORM's migrator makes its table, on a connection of its own: two of them at once would both make it.
 * And it looks for the database by name, which may be another one behind a pooler.
 */
async function prepareMigrator(orm: MikroORM): Promise<Migrator> {
  const name = await orm.em.fork().transactional(async (em) => {
    await em.execute('select pg_advisory_xact_lock(?)', [MIGRATION_LOCK]);
    await em.execute(
      `create table if not exists ${MIGRATION_TABLE}
         (id serial primary key, name varchar(255) not null, executed_at timestamptz(6) not null default current_timestamp)`,
    );
    const [row] = await em.execute<{ name: string }[]>('select current_database() as name');
    return row?.name;
  });
  orm.config.set('dbName', name);
  orm.config.set('migrations', {
    ...orm.config.get('migrations'),
    tableName: MIGRATION_TABLE,
    migrationsList: await migrationClasses(),
    snapshot: false,
    // In the transaction that `migrateNext` hands over, and so in the session that has the lock.
    allOrNothing: true,
  });
  const migrator = new Migrator(orm.em);
  await migrator.getExecuted();
  return migrator;
}

/** The one class of each file. */
async function migrationClasses(): Promise<MigrationClass[]> {
  const modules: object[] = await Promise.all(knownMigrations().map((name) => import(`${MIGRATIONS_FOLDER}/${name}.ts`)));
  return modules.flatMap((module) => Object.values(module).filter((exported) => exported.prototype instanceof Migration));
}
