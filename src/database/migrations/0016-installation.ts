import { Migration } from '@mikro-orm/migrations';

/**
 * The id that marks what this installation makes at Stripe, so that two installations may share an account.
 * It comes with the database: a copy that runs beside the original needs another one.
 */
export class Installation extends Migration {
  override name = '0016-installation';

  override up(): void {
    this.addSql(`
      create table installation (
        id text primary key,
        created_at timestamptz not null default now(),
        is_only boolean not null default true unique check (is_only)
      )`);
    this.addSql(`insert into installation (id) values ('ins_' || replace(gen_random_uuid()::text, '-', ''))`);
  }
}
