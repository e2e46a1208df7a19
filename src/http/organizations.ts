/** `/api/v1/organizations` */
import express, { type Router } from 'express';
import { z } from 'zod';
import * as acceptedBudgets from '../database/accepted-budgets.ts';
import * as balanceSamples from '../database/balance-samples.ts';
import * as budgets from '../database/budgets.ts';
import type { EntityManager } from '../database/database.ts';
import type { Organization } from '../database/entities.ts';
import * as holds from '../database/holds.ts';
import * as ledger from '../database/ledger.ts';
import * as names from '../database/names.ts';
import * as organizations from '../database/organizations.ts';
import { historyOf } from '../database/recharge-history.ts';
import * as refusals from '../database/refusals.ts';
import * as status from '../database/status.ts';
import * as teams from '../database/teams.ts';
import * as timeZones from '../database/time-zones.ts';
import * as webhookEvents from '../database/webhook-events.ts';
import { RESUMED_REASONS } from '../domain/hold.ts';
import { formatMoney, formatQuota, formatQuotaOrNull, quotaMicros } from '../domain/money.ts';
import { stopOf } from '../domain/service-status.ts';
import { warningsOf } from '../domain/settings-warnings.ts';
import { balanceOf, type Standing, standingOf } from '../domain/status.ts';
import type { HttpDependencies } from './dependencies.ts';
import { text } from './fields.ts';
import { type Forewarned, forewarningsOf, type Known } from './forewarnings.ts';
import { type PresentedHold, presentHolds } from './holds.ts';
import {
  changedSettings,
  defaultLimits,
  MONEY_FIELDS,
  NULL,
  newOrganization,
  presentSettings,
  type SettingsBody,
  settingsIn,
} from './organization-settings.ts';
import { outlookOf } from './outlook.ts';
import { pageQuery, presentPage } from './paging.ts';
import { allValid, invalidField, invalidFields, Problem, parse } from './problem.ts';
import { requireCustomer, sharedCustomer } from './required-customer.ts';
import { isTeamGone, requireTeam } from './required-team.ts';

const suspension = z.strictObject({ reason: text(500).optional(), by: text(100).default('admin key') });
const acceptance = z.strictObject({ reason: text(500), by: text(100).default('admin key') });
const resumption = z.strictObject({ by: text(100).default('admin key') });

/** Nothing is stored, and the answer is what it would have been. */
const rehearsalQuery = z.strictObject({ dry_run: z.stringbool().default(false) });
const listQuery = z.strictObject({ ...pageQuery, litellm_team_id: text(200).optional() });

type OrganizationDependencies = Pick<HttpDependencies, 'database' | 'kms' | 'payments' | 'temporalFacts'>;

export function organizationRoutes({ database, kms, payments, temporalFacts }: OrganizationDependencies): Router {
  const router = express.Router();

  router.get('/', async (request, response) => {
    const { limit, cursor, litellm_team_id: litellmTeamId } = parse(listQuery, request.query);
    const em = database.fork();
    const page = await organizations.list(em, { limit, cursor, litellmTeamId });
    const standings = await standingsOf(
      em,
      page.data.map(({ id }) => id),
    );
    response.json(presentPage(page, (organization) => presentOrganization(organization, standings.get(organization.id))));
  });

  router.post('/', async (request, response) => {
    const { dry_run: isRehearsal } = parse(rehearsalQuery, request.query);
    const { id, settings: body } = parse(newOrganization, request.body);
    if (body.currency !== 'usd' && request.body.quota_per_unit === undefined) throw rateMissing(body.currency);
    const settings = parse(settingsIn<SettingsBody>(body.currency), body);
    // One that exists is refused by the write, whatever its team.
    const isNew = (await organizations.find(database.fork(), id)) === null;
    const [ofCustomer] = await allValid([
      isNew ? requireCustomer({ payments }, settings.stripeCustomerId) : [],
      isNew && !settings.createTeam && requireTeam({ database, kms }, settings.litellmTeamId),
      requireTargetAboveMinimum(settings),
      requireTimeZone(settings),
    ]);
    const { organization, shown, known } = await seenAfter(isRehearsal, async (em) => {
      const created = await organizations.create(em, id, settings);
      if (ofCustomer.length > 0) await refusals.foresee(em, [{ id, reason: 'no_payment_method' }]);
      return created;
    });
    const { warnings, budget } = await forewarned(organization, { ...known, isTeamWished: settings.createTeam });
    if (budget && !isRehearsal)
      await balanceSamples.record(database.fork(), [{ organizationId: id, litellmTeamId: organization.litellmTeamId, ...budget }]);
    const shared = await sharedCustomer({ database }, organization);
    const answer = { ...withWarnings(shown, [...(ofCustomer.length > 0 ? ofCustomer : warnings), ...shared]), ...balanceNow(budget) };
    if (isRehearsal) response.json({ ...answer, created_at: null, updated_at: null });
    else
      response
        .status(201)
        .location(`/api/v1/organizations/${encodeURIComponent(id)}`)
        .json(answer);
  });

  router.get('/:id', async (request, response) => {
    response.json(await show(await get(request.params.id)));
  });

  router.patch('/:id', async (request, response) => {
    const { dry_run: isRehearsal } = parse(rehearsalQuery, request.query);
    const body = parse(changedSettings, request.body);
    const present = await get(request.params.id);
    if (body.currency) requireMoneyInNewCurrency(body, present);
    const changes = parse(settingsIn(body.currency ?? present.currency), body);
    const { litellmTeamId = present.litellmTeamId, createTeam = false, stripeCustomerId = present.stripeCustomerId } = changes;
    const [ofCustomer] = await allValid([
      stripeCustomerId === present.stripeCustomerId ? [] : requireCustomer({ payments }, stripeCustomerId),
      litellmTeamId !== present.litellmTeamId && !createTeam && requireTeam({ database, kms }, litellmTeamId),
      requireTargetAboveMinimum({ ...present, ...changes }),
      requireTimeZone(changes),
    ]);
    const movesTeam = litellmTeamId !== present.litellmTeamId;
    const leaves = movesTeam && (await teams.ofOrganizations(database.fork(), [present.id])).length > 0;
    const left = movesTeam ? await balanceBehind(present) : [];
    // Asked for only where something would stay behind.
    const gone = leaves && (await isTeamGone({ kms }, present.litellmTeamId));
    const { organization, shown, known } = await seenAfter(isRehearsal, async (em) => {
      const changed = await em.transactional(async (tx) => {
        await organizations.requireAsSeen(tx, present, changes);
        return change(tx, present.id, changes, gone ? { seenTeamId: present.litellmTeamId, isTeamGone: true } : {});
      });
      if (ofCustomer.length > 0) await refusals.foresee(em, [{ id: present.id, reason: 'no_payment_method' }]);
      return changed;
    });
    const { warnings } = await forewarned(organization, { ...known, isTeamWished: createTeam });
    const advance = ofCustomer.length > 0 ? ofCustomer : warnings;
    const shared = stripeCustomerId === present.stripeCustomerId ? [] : await sharedCustomer({ database }, organization);
    response.json(withWarnings(shown, [...limitsAnew(present, organization), ...left, ...advance, ...shared]));
  });

  router.delete('/:id', async (request, response) => {
    const removed = await refusingConflicts(() => organizations.remove(database.fork(), request.params.id));
    if (!removed) throw await missing(request.params.id);
    response.status(204).end();
  });

  router.get('/:id/balance', async (request, response) => {
    const organization = await get(request.params.id);
    const { quota, spend } = await kms.teamBudget(organization.litellmTeamId);
    response.json({
      c_organization_id: organization.id,
      litellm_team_id: organization.litellmTeamId,
      max_budget: formatQuotaOrNull(quota),
      spend: formatQuota(spend),
      balance: quota === null ? null : formatQuota(quotaMicros(quota - spend)),
      minimum_balance: formatQuota(organization.minimumBalance),
      target_balance: formatQuota(organization.targetBalance),
      ledger: (await ledger.balancesOf(database.fork(), organization.id)).map(presentBalance),
    });
  });

  router.get('/:id/outlook', async (request, response) => {
    const organization = await get(request.params.id);
    const outlook = await outlookOf({ database, kms, payments }, organization);
    const stop = stopOf({ temporal: await temporalFacts() }, new Date());
    response.json({ c_organization_id: organization.id, litellm_team_id: organization.litellmTeamId, ...outlook, waits_for: stop });
  });

  router.post('/:id/suspend', async (request, response) => {
    const { reason, by } = parse(suspension, request.body ?? {});
    const { id } = await get(request.params.id);
    const operator = { scope: 'organization', subject: id, reason: 'operator', organizationId: id, openedBy: by } as const;
    await database.fork().transactional(async (tx) => {
      const hold = { ...operator, detail: reason ?? 'suspended by an operator' };
      const { isNew } = await holds.open(tx, hold);
      if (!isNew && reason !== undefined) await holds.addReason(tx, hold);
    });
    response.json(await show(await get(id)));
  });

  // What a person may end without a look; a hold of the service stays, and so does one on a card.
  router.post('/:id/resume', async (request, response) => {
    const { by } = parse(resumption, request.body ?? {});
    const { id } = await get(request.params.id);
    await holds.releaseOf(database.fork(), { scope: 'organization', subject: id, reasons: RESUMED_REASONS }, { by, reason: 'resumed' });
    response.json(await show(await get(id)));
  });

  // `max_budget` in LiteLLM was edited, and it was meant.
  router.post('/:id/accept-budget', async (request, response) => {
    const { reason, by } = parse(acceptance, request.body ?? {});
    const organization = await get(request.params.id);
    const expected = await budgets.expectedOf(database.fork(), organization.id);
    const { quota, spend } = await kms.teamBudget(organization.litellmTeamId);
    if (quota === null) throw new Problem('conflict', 'max_budget in LiteLLM is unlimited: a team without a limit is never charged');
    if (expected === null)
      throw new Problem('conflict', 'nothing is expected of max_budget in LiteLLM now: no recharge has set it, or one is under way');
    if (quota === expected) throw new Problem('conflict', `max_budget in LiteLLM is ${formatQuota(quota)}, as expected`);
    const isAccepted = await acceptedBudgets.accept(database.fork(), organization, { seen: { quota, spend }, expected, reason, by });
    if (!isAccepted) throw new Problem('conflict', 'our own write has changed max_budget meanwhile: look at it again');
    response.json(await show(await get(organization.id)));
  });

  /** What was paid for stays with the team that an organization leaves. */
  async function balanceBehind({ id, litellmTeamId }: Organization): Promise<string[]> {
    const [facts] = await status.factsOf(database.fork(), [id]);
    const balance = balanceOf(facts?.balance ?? null);
    if (balance === null || Number(balance) <= 0 || facts?.drifts.some(({ kind }) => kind === 'team_deleted')) return [];
    return [
      `the team ${litellmTeamId} keeps the ${balance} USD that were left when it was last seen, and its keys go on spending them: lower its max_budget in LiteLLM, where that is not meant`,
    ];
  }

  async function show(organization: Organization, em = database.fork()) {
    return presentOrganization(organization, (await standingsOf(em, [organization.id])).get(organization.id));
  }

  /** What is shown of each organization beside its settings. */
  async function standingsOf(em: EntityManager, ids: readonly string[]): Promise<Map<string, Shown>> {
    const [zoneless, facts] = [await zonelessAmong(em, ids), await status.factsOf(em, ids)];
    const open = await holds.ofIds(
      em,
      facts.flatMap((each) => each.holds.map(({ id }) => id)),
    );
    const presented = new Map((await presentHolds(em, [...open.values()])).map((hold) => [hold.id, hold]));
    const now = new Date();
    return new Map(
      facts.map((each) => [
        each.id,
        {
          held: each.holds.flatMap(({ id }) => presented.get(id) ?? []),
          isTimeZoneUnknown: zoneless.has(each.id),
          balance: each.balance,
          ...standingOf(each, now),
        },
      ]),
    );
  }

  /** Writes an organization and looks at it. A rehearsal is rolled back, and conflicts all the same. */
  async function seenAfter(isRehearsal: boolean, write: (em: EntityManager) => Promise<Organization>) {
    const em = database.fork();
    const look = async () => {
      const organization = await refusingConflicts(() => write(em));
      const { id } = organization;
      const history = await historyOf(em, id);
      // Those on the card of its last recharge too: Stripe is not asked which card it has now.
      const ofCard = (await status.factsOf(em, [id])).flatMap((facts) => facts.holds.filter(({ scope }) => scope === 'card'));
      const known = {
        history: { ...history, holds: [...history.holds, ...ofCard] },
        expected: await budgets.expectedOf(em, id),
        wasAskedFor: (await webhookEvents.askedForQuota(em, [id])).has(id),
      };
      return { organization, shown: await show(organization, em), known };
    };
    if (!isRehearsal) return look();
    await em.begin();
    try {
      return await look();
    } finally {
      await em.rollback();
    }
  }

  function forewarned(organization: Organization, known: Known): Promise<Forewarned> {
    return forewarningsOf({ kms }, organization, known);
  }

  async function zonelessAmong(em: EntityManager, ids: readonly string[]): Promise<Set<string>> {
    return new Set((await timeZones.unknownTimeZones(em, ids)).map(({ organizationId }) => organizationId));
  }

  async function requireTimeZone({ timeZone }: Partial<organizations.OrganizationSettings>): Promise<void> {
    if (timeZone === undefined || (await timeZones.isKnown(database.fork(), timeZone))) return;
    throw invalidField('time_zone', `has to be an IANA time zone like "Europe/Berlin" (given: ${JSON.stringify(timeZone)})`);
  }

  async function get(id: string): Promise<Organization> {
    const organization = await organizations.find(database.fork(), id);
    if (!organization) throw await missing(id);
    return organization;
  }

  async function change(...[em, id, ...rest]: Parameters<typeof organizations.change>): Promise<Organization> {
    const organization = await organizations.change(em, id, ...rest);
    if (!organization) throw await missing(id);
    return organization;
  }

  async function missing(id: string): Promise<Problem> {
    return new Problem('not-found', await names.absenceOfOrganizations(database.fork(), [id]));
  }

  return router;
}

function withWarnings<Shown extends { warnings: string[] }>(shown: Shown, more: readonly string[]): Shown {
  return { ...shown, warnings: [...shown.warnings, ...more] };
}

/** Of a new organization, which no sweep has seen. */
function balanceNow(budget: Forewarned['budget']) {
  return { balance: balanceOf(budget), balance_at: budget === null ? null : new Date().toISOString() };
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

/** LiteLLM counts in dollars: without a rate, ten dollars of quota would cost ten yen. */
function rateMissing(code: string): Problem {
  return invalidField(
    'quota_per_unit',
    `has to be given for ${code.toUpperCase()}: how many of LiteLLM's dollars one ${code.toUpperCase()} buys`,
  );
}

async function requireTargetAboveMinimum({
  minimumBalance,
  targetBalance,
}: Pick<organizations.OrganizationSettings, 'minimumBalance' | 'targetBalance'>): Promise<void> {
  if (targetBalance > minimumBalance) return;
  const figures = `it is ${formatQuota(targetBalance)}, and minimum_balance ${formatQuota(minimumBalance)}`;
  throw invalidField('target_balance', `has to be above minimum_balance, or a recharge would not end the shortage: ${figures}`);
}

/** An amount that stays would be read in the new currency: 500 USD are not 500 JPY. */
function requireMoneyInNewCurrency(body: z.output<typeof changedSettings>, present: Organization): void {
  if (body.currency === present.currency) return;
  const defaults = defaultLimits(present);
  const [old, wanted] = [present.currency.toUpperCase(), body.currency?.toUpperCase()];
  const unchanged = MONEY_FIELDS.filter((field) => !defaults.includes(field) && body[field] === undefined);
  const fields = unchanged.map((field) => ({
    field: field as string,
    message: `is in ${old} so far: give it in ${wanted} too, or ${NULL}`,
  }));
  if (body.quota_per_unit === undefined) {
    const message = `is ${formatQuota(present.quotaPerUnit)} for one ${old} so far: give what one ${wanted} buys too`;
    fields.push({ field: 'quota_per_unit', message });
  }
  if (fields.length > 0) throw invalidFields(fields);
}

/** The limits of a day and a month count what was charged in the organization's currency. */
function limitsAnew(before: Organization, after: Organization): string[] {
  if (before.currency === after.currency) return [];
  const [old, now] = [before.currency.toUpperCase(), after.currency.toUpperCase()];
  return [`max_daily_amount and max_monthly_amount begin anew in ${now}: what was charged in ${old} today and this month no longer counts`];
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

/** What is shown of an organization beside its settings. `held`: the open holds on the organization and its card. */
type Shown = Pick<status.SeenOrganization, 'balance'> &
  Pick<Standing, 'state' | 'why'> & { held: readonly PresentedHold[]; isTimeZoneUnknown: boolean };
/** Of one that was removed meanwhile. */
const NOTHING_KNOWN: Shown = { balance: null, state: 'ok', why: null, held: [], isTimeZoneUnknown: false };

function presentOrganization(organization: Organization, { balance, state, why, held, isTimeZoneUnknown }: Shown = NOTHING_KNOWN) {
  return {
    c_organization_id: organization.id,
    state,
    why,
    balance: balanceOf(balance),
    balance_at: balance?.at.toISOString() ?? null,
    ...presentSettings(organization),
    default_limits: defaultLimits(organization),
    warnings: warningsOf(organizations.policyOf(organization), { isTimeZoneUnknown }),
    litellm_seen_at: organization.litellmSeenAt?.toISOString() ?? null,
    holds: held,
    created_at: organization.createdAt.toISOString(),
    updated_at: organization.updatedAt.toISOString(),
  };
}
