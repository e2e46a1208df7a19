import { Migration } from '@mikro-orm/migrations';

/**
 * What LiteLLM was seen to have, and the runs of the synchronisation with what each found and did.
 */
export class Synchronisation extends Migration {
  override name = '0007-synchronisation';

  override up(): void {
    this.addSql(`
      create table litellm_team (
        team_id text primary key,
        alias text,
        claim text,
        max_budget numeric(18,6),
        spend numeric(18,6) not null,
        blocked boolean not null,
        budget_duration text,
        has_budget_limits boolean not null,
        members_count integer not null,
        keys_count integer not null,
        blocked_by_us boolean not null default false,
        seen_at timestamptz not null,
        gone_at timestamptz
      )`);
    this.addSql(`
      create table sync_run (
        id text primary key,
        workflow text unique,
        dry_run boolean not null,
        organization_ids jsonb,
        status text not null check (status in ('running', 'succeeded', 'failed')),
        counts jsonb not null,
        items integer not null default 0,
        failure_message text,
        started_at timestamptz not null default now(),
        finished_at timestamptz,
        check ((finished_at is null) = (status = 'running'))
      )`);
    this.addSql('create index sync_run_age on sync_run (started_at)');
    this.addSql(`
      create table sync_item (
        run_id text not null references sync_run on delete cascade,
        kind text not null,
        subject text not null,
        organization_id text,
        ours text,
        theirs text,
        action text,
        outcome text not null check (outcome in ('planned', 'done', 'failed', 'needs_person', 'noted')),
        reason text,
        at timestamptz not null default now(),
        primary key (run_id, kind, subject)
      )`);
  }
}
