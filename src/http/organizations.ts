/** `/api/v1/organizations` */
import express, { type Router } from 'express';
import { z } from 'zod';
import type { Database } from '../database/database.ts';
import type { Organization } from '../database/entities.ts';
import * as ledger from '../database/ledger.ts';
import * as organizations from '../database/organizations.ts';
import { type Currency, currency, formatMoney, formatQuota, parseMoney, parseQuota, quotaMicros } from '../domain/money.ts';
import type { KmsClient } from '../kms/client.ts';
import { identifier, notNegativeDollars, parsedBy, positiveDollars, text } from './fields.ts';
import { pageQuery, presentPage } from './paging.ts';
import { Problem, parse } from './problem.ts';

/** One who charges more often than this a day has the target too low. */
const MAX_DAILY_RECHARGES = 1000;

const settings = z.strictObject({
  name: text(200),
  stripe_customer_id: z.string().regex(/^cus_\w{1,100}$/, 'is the id of a Stripe customer, cus_…'),
  litellm_team_id: text(200),
  currency: parsedBy(currency),
  minimum_balance: notNegativeDollars,
  target_balance: positiveDollars,
  quota_per_unit: positiveDollars,
  auto_recharge_enabled: z.boolean(),
  max_daily_recharges: z.number().int().min(0).max(MAX_DAILY_RECHARGES),
  /** In the currency's own places, so it is read when the currency is known. */
  max_monthly_amount: z.string('is a decimal string like "500.00", or null for no limit').nullable(),
  time_zone: text(100),
  blocked: z.boolean(),
});

const newOrganization = settings.extend({
  c_organization_id: identifier,
  name: settings.shape.name.optional(),
  litellm_team_id: settings.shape.litellm_team_id.optional(),
  currency: settings.shape.currency.default(currency('usd')),
  quota_per_unit: positiveDollars.default(parseQuota('1')),
  auto_recharge_enabled: z.boolean().default(true),
  max_daily_recharges: settings.shape.max_daily_recharges.default(10),
  max_monthly_amount: settings.shape.max_monthly_amount.default(null),
  time_zone: settings.shape.time_zone.default('UTC'),
  blocked: z.boolean().default(false),
});

const suspension = z.strictObject({ reason: text(500).default('suspended by an operator') });

export function organizationRoutes(database: Database, kms: KmsClient): Router {
  const router = express.Router();

  router.get('/', async (request, response) => {
    response.json(
      presentPage(await organizations.list(database.fork(), pageOf(parse(z.strictObject(pageQuery), request.query))), presentOrganization),
    );
  });

  router.post('/', async (request, response) => {
    const { c_organization_id: id, name = id, litellm_team_id = id, ...body } = parse(newOrganization, request.body);
    const wanted = {
      ...rename({ ...body, name, litellm_team_id }),
      ...monthlyLimit(body, body.currency),
    } as organizations.OrganizationSettings;
    requireTargetAboveMinimum(wanted);
    await requireTimeZone(wanted);
    const created = await refusingConflicts(() => organizations.create(database.fork(), id, wanted));
    response
      .status(201)
      .location(`/api/v1/organizations/${encodeURIComponent(id)}`)
      .json(presentOrganization(created));
  });

  router.get('/:id', async (request, response) => {
    response.json(presentOrganization(await get(request.params.id)));
  });

  router.patch('/:id', async (request, response) => {
    const body = parse(settings.partial(), request.body);
    const present = await get(request.params.id);
    if (body.currency && body.currency !== present.currency && present.maxMonthlyAmount !== null && body.max_monthly_amount === undefined) {
      const message = `is in ${present.currency} so far: give it in ${body.currency} too, or null`;
      throw new Problem('invalid', `max_monthly_amount: ${message}`, [{ field: 'max_monthly_amount', message }]);
    }
    const changes = { ...rename(body), ...monthlyLimit(body, body.currency ?? present.currency) };
    requireTargetAboveMinimum({ ...present, ...changes });
    await requireTimeZone(changes);
    response.json(presentOrganization(await change(request.params.id, changes)));
  });

  router.delete('/:id', async (request, response) => {
    const removed = await refusingConflicts(() => organizations.remove(database.fork(), request.params.id));
    if (!removed) throw missing(request.params.id);
    response.status(204).end();
  });

  router.get('/:id/balance', async (request, response) => {
    const organization = await get(request.params.id);
    const { quota, spend } = await kms.teamBudget(organization.litellmTeamId);
    response.json({
      c_organization_id: organization.id,
      litellm_team_id: organization.litellmTeamId,
      max_budget: quota === null ? null : formatQuota(quota),
      spend: formatQuota(spend),
      balance: quota === null ? null : formatQuota(quotaMicros(quota - spend)),
      minimum_balance: formatQuota(organization.minimumBalance),
      target_balance: formatQuota(organization.targetBalance),
      ledger: (await ledger.balancesOf(database.fork(), organization.id)).map(presentBalance),
    });
  });

  router.post('/:id/suspend', async (request, response) => {
    const { reason } = parse(suspension, request.body ?? {});
    response.json(presentOrganization(await change(request.params.id, { suspendedAt: new Date(), suspendedReason: reason })));
  });

  router.post('/:id/resume', async (request, response) => {
    response.json(presentOrganization(await change(request.params.id, { suspendedAt: null, suspendedReason: null })));
  });

  async function requireTimeZone({ timeZone }: Partial<organizations.OrganizationSettings>): Promise<void> {
    if (timeZone === undefined || (await organizations.knowsTimeZone(database.fork(), timeZone))) return;
    const message = 'is an IANA time zone like "Europe/Berlin"';
    throw new Problem('invalid', `time_zone: ${message}`, [{ field: 'time_zone', message }]);
  }

  async function get(id: string): Promise<Organization> {
    const organization = await organizations.find(database.fork(), id);
    if (!organization) throw missing(id);
    return organization;
  }

  async function change(id: string, changes: Parameters<typeof organizations.change>[2]): Promise<Organization> {
    const organization = await refusingConflicts(() => organizations.change(database.fork(), id, changes));
    if (!organization) throw missing(id);
    return organization;
  }

  return router;
}

function missing(id: string): Problem {
  return new Problem('not-found', `there is no organization ${id}`);
}

function pageOf({ limit, cursor }: { limit: number; cursor?: string | undefined }) {
  return { limit, cursor };
}

async function refusingConflicts<T>(write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    const isConflict = error instanceof organizations.OrganizationExistsError || error instanceof organizations.OrganizationInUseError;
    if (isConflict) throw new Problem('conflict', error.message);
    throw error;
  }
}

function monthlyLimit(
  { max_monthly_amount: amount }: { max_monthly_amount?: string | null | undefined },
  code: Currency,
): Pick<organizations.OrganizationSettings, 'maxMonthlyAmount'> | undefined {
  if (amount === undefined) return undefined;
  if (amount === null) return { maxMonthlyAmount: null };
  try {
    const limit = parseMoney(amount, code);
    if (limit < 0) throw new Error('is not negative');
    return { maxMonthlyAmount: limit };
  } catch (error) {
    const { message } = error as Error;
    throw new Problem('invalid', `max_monthly_amount: ${message}`, [{ field: 'max_monthly_amount', message }]);
  }
}

function requireTargetAboveMinimum({
  minimumBalance,
  targetBalance,
}: Pick<organizations.OrganizationSettings, 'minimumBalance' | 'targetBalance'>): void {
  if (targetBalance > minimumBalance) return;
  const message = 'is above minimum_balance, or a recharge would not end the shortage';
  throw new Problem('invalid', `target_balance: ${message}`, [{ field: 'target_balance', message }]);
}

const PROPERTY_OF_FIELD = {
  name: 'name',
  stripe_customer_id: 'stripeCustomerId',
  litellm_team_id: 'litellmTeamId',
  currency: 'currency',
  minimum_balance: 'minimumBalance',
  target_balance: 'targetBalance',
  quota_per_unit: 'quotaPerUnit',
  auto_recharge_enabled: 'autoRechargeEnabled',
  max_daily_recharges: 'maxDailyRecharges',
  time_zone: 'timeZone',
  blocked: 'blocked',
} as const satisfies Record<Exclude<keyof z.output<typeof settings>, 'max_monthly_amount'>, keyof organizations.OrganizationSettings>;

function rename(body: object): Partial<organizations.OrganizationSettings> {
  return Object.fromEntries(
    Object.entries(body).flatMap(([field, value]) =>
      value === undefined || !Object.hasOwn(PROPERTY_OF_FIELD, field)
        ? []
        : [[PROPERTY_OF_FIELD[field as keyof typeof PROPERTY_OF_FIELD], value]],
    ),
  );
}

function presentBalance({ currency: code, paid, held, granted, quotaGranted }: ledger.Balance) {
  return {
    currency: code,
    paid: formatMoney(paid, code),
    held: formatMoney(held, code),
    granted: formatMoney(granted, code),
    quota_granted: formatQuota(quotaGranted),
  };
}

function presentOrganization(organization: Organization) {
  return {
    c_organization_id: organization.id,
    name: organization.name,
    stripe_customer_id: organization.stripeCustomerId,
    litellm_team_id: organization.litellmTeamId,
    currency: organization.currency,
    minimum_balance: formatQuota(organization.minimumBalance),
    target_balance: formatQuota(organization.targetBalance),
    quota_per_unit: formatQuota(organization.quotaPerUnit),
    auto_recharge_enabled: organization.autoRechargeEnabled,
    max_daily_recharges: organization.maxDailyRecharges,
    max_monthly_amount:
      organization.maxMonthlyAmount === null || organization.maxMonthlyAmount === undefined
        ? null
        : formatMoney(organization.maxMonthlyAmount, organization.currency),
    time_zone: organization.timeZone,
    blocked: organization.blocked,
    litellm_seen_at: organization.litellmSeenAt?.toISOString() ?? null,
    suspended_at: organization.suspendedAt?.toISOString() ?? null,
    suspended_reason: organization.suspendedReason ?? null,
    created_at: organization.createdAt.toISOString(),
    updated_at: organization.updatedAt.toISOString(),
  };
}
