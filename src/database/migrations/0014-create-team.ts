import { Migration } from '@mikro-orm/migrations';

/**
 * Whether an organization's LiteLLM team is made when LiteLLM has never had it. An organization of before
 * whose team was never seen was added when that alone meant "make it", so its team still is.
 */
export class CreateTeam extends Migration {
  override name = '0014-create-team';

  override up(): void {
    this.addSql('alter table organization_balance_config add column create_team boolean not null default false');
    this.addSql('update organization_balance_config set create_team = true where litellm_seen_at is null');
  }
}
