import { Migration } from '@mikro-orm/migrations';

/**
 * Budgets that somebody has edited in LiteLLM and a person has accepted here, each with who did and why. And an index by
 * which the status finds the organizations whose balance is low, that are blocked or never charged: it goes with the
 * condition in src/database/status.ts.
 */
export class AcceptedBudgets extends Migration {
  override name = '0023-accepted-budgets';

  override up(): void {
    this.addSql(`
      create table accepted_budget (
        organization_id text not null references organization_balance_config on delete cascade,
        litellm_team_id text not null,
        quota numeric(18,6) not null,
        reason text not null,
        accepted_by text not null,
        at timestamptz not null,
        primary key (organization_id, at))`);
    this.addSql(`create index if not exists ${QUESTIONABLE_INDEX}`);
  }
}

export const QUESTIONABLE_INDEX =
  'organization_questionable on organization_balance_config (c_organization_id) where low_since is not null or blocked or max_daily_recharges = 0 or least(max_daily_amount, max_monthly_amount) < 1000';
