/** Falls of balances to the minimum: each is told once, and forgotten when the balance is above it again. */
import { formatQuota, quotaMicros } from '../domain/money.ts';
import { type LiveBudget, unfitness } from '../domain/policy.ts';
import type { EntityManager } from './database.ts';
import type { Organization } from './entities.ts';
import { tell } from './outbound-events.ts';
import * as refusals from './refusals.ts';

/** An organization as it was read, and its team's budget in LiteLLM. */
export type BalanceSeen = { organization: Organization; budget: LiveBudget };

/** Notes what was seen. A balance that is on the same side of its minimum as before costs no statement. */
export async function note(em: EntityManager, seen: readonly BalanceSeen[]): Promise<void> {
  for (const { organization, budget } of seen) {
    if (budget.quota === null) continue;
    const balance = quotaMicros(budget.quota - budget.spend);
    const isLow = balance <= organization.minimumBalance;
    if (isLow && !organization.lowSince) await tellLow(em, organization, formatQuota(balance));
    if (!isLow && organization.lowSince) await em.transactional((tx) => refusals.forgetLow(tx, organization.id));
  }
  const fit = seen.filter(({ organization, budget }) => unfitness(budget) === null && !budget.blocked && !organization.blocked);
  await refusals.forgetUnfitness(
    em,
    fit.map(({ organization }) => organization.id),
  );
}

async function tellLow(em: EntityManager, organization: Organization, balance: string): Promise<void> {
  const { id, litellmTeamId, minimumBalance, autoRechargeEnabled } = organization;
  await em.transactional(async (tx) => {
    // Of two looks at one fall the first one tells it. A team that the organization had before has fallen for nobody.
    const [fallen] = await tx.execute<{ since: Date }[]>(
      `update organization_balance_config set low_since = now()
       where c_organization_id = ? and litellm_team_id = ? and low_since is null returning low_since as since`,
      [id, litellmTeamId],
    );
    if (!fallen) return;
    const data = {
      litellm_team_id: litellmTeamId,
      balance,
      minimum_balance: formatQuota(minimumBalance),
      currency: 'usd' as const,
      auto_recharge_enabled: autoRechargeEnabled,
    };
    await tell(tx, { type: 'balance.low', organizationId: id, key: `balance/${id}/low/${new Date(fallen.since).toISOString()}`, data });
  });
}
