import { Migration } from '@mikro-orm/migrations';

/**
 * An organization's teams and their keys, and what the synchronisation with LiteLLM goes by.
 *
 * The rows say what is wanted; LiteLLM follows. A team's row goes when LiteLLM no longer has
 * the team; a key's row stays as a record, without the secret. An organization that was recharged had a team in LiteLLM then.
 */
export class TeamsAndKeys extends Migration {
  override name = '0006-teams-and-keys';

  override up(): void {
    this.addSql('alter table organization_balance_config add column blocked boolean not null default false');
    this.addSql('alter table organization_balance_config add column litellm_seen_at timestamptz');
    this.addSql(`
      update organization_balance_config o set litellm_seen_at =
        (select max(created_at) from recharge r where r.organization_id = o.c_organization_id and r.litellm_team_id = o.litellm_team_id)`);
    this.addSql(`
      create table team (
        c_organization_id text not null references organization_balance_config,
        c_team_id text not null,
        l_user_id text not null unique,
        name text not null,
        max_budget_in_team numeric(18,6) check (max_budget_in_team >= 0),
        created_at timestamptz not null default now(),
        updated_at timestamptz not null default now(),
        synced_at timestamptz,
        removed_at timestamptz,
        primary key (c_organization_id, c_team_id)
      )`);
    this.addSql(`
      create table team_key (
        id text primary key,
        c_organization_id text not null references organization_balance_config on delete cascade,
        c_team_id text not null,
        token text not null unique,
        alias text not null,
        created_at timestamptz not null default now(),
        issued_at timestamptz,
        revoked_at timestamptz,
        deleted_at timestamptz,
        check (deleted_at is null or revoked_at is not null)
      )`);
    this.addSql('create unique index team_key_alias on team_key (alias) where deleted_at is null');
    this.addSql('create index team_key_team on team_key (c_organization_id, c_team_id)');
  }
}
