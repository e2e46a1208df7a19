/** Settings of an organization, for tests that store one without the API. */
import type { OrganizationSettings } from '../../src/database/organizations.ts';
import { currency, parseQuota } from '../../src/domain/money.ts';

/** From 5.00 to 25.00, with a team named after the organization. */
export function settingsOf(id: string): OrganizationSettings {
  return {
    name: id,
    stripeCustomerId: 'cus_1',
    litellmTeamId: `team-${id}`,
    currency: currency('usd'),
    minimumBalance: parseQuota('5'),
    targetBalance: parseQuota('25'),
    quotaPerUnit: parseQuota('1'),
    autoRechargeEnabled: true,
    maxDailyRecharges: 10,
    maxCharge: null,
    maxDailyAmount: null,
    maxMonthlyAmount: null,
    timeZone: 'UTC',
    blocked: false,
    createTeam: false,
  };
}
