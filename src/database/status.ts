/** How organizations stand, as domain/status judges it, and what waits to be handed on. */
import { remainingPauseMs } from '../domain/cool-down.ts';
import { isOfLimit, type LimitsUsed, limitsUsed } from '../domain/limits.ts';
import {
  formatQuota,
  MAX_CHARGE_MINOR,
  moneyText,
  parseQuota,
  type QuotaMicros,
  quotaMicros,
  THREE_DECIMAL,
  ZERO_DECIMAL,
} from '../domain/money.ts';
import { isToldRefusal } from '../domain/outbound-event.ts';
import { underWaySince } from '../domain/overdue.ts';
import type { PaidHistory } from '../domain/policy.ts';
import { OPEN_STATUSES } from '../domain/recharge-status.ts';
import { UNSETTLED_REVERSAL_STATUSES, WRITTEN_REVERSAL_STATUSES } from '../domain/reversal.ts';
import type { Lag, RunsUnderWay, ServiceFacts } from '../domain/service-status.ts';
import { limitsOfNothing, limitsOfOneCharge } from '../domain/settings-warnings.ts';
import type { OpenEvent, OpenRecharge, OrganizationFacts, StandingDrift, StandingHold } from '../domain/status.ts';
import * as budgets from './budgets.ts';
import type { EntityManager } from './database.ts';
import { Organization, Recharge, Reversal } from './entities.ts';
import { list as listHolds } from './holds.ts';
import { policyOf } from './organizations.ts';
import { midnight, paidByEach } from './recharge-history.ts';
import { sqlList } from './sql.ts';
import { standingOn } from './stopping-holds.ts';
import { askedForQuota, type SweepStanding, sweepStandings } from './webhook-events.ts';

/** An organization with what is known of its balance: what the last sweep has seen, and when. */
export type SeenOrganization = OrganizationFacts & { balance: { quota: QuotaMicros | null; spend: QuotaMicros; at: Date } | null };

/** Of a synchronisation, what it could not settle. */
export const UNSETTLED_OUTCOMES = ['needs_person', 'failed'] as const;
/** The last synchronisations of everything began no longer ago than this, or none has run for hours. */
const DRIFT_WINDOW = '6 hours';

/** More are in the list of holds. */
const MAX_SERVICE_HOLDS = 20;

/** Minor units of one unit of the currency. */
const SCALE = `case when currency in (${sqlList([...ZERO_DECIMAL])}) then 1 when currency in (${sqlList([...THREE_DECIMAL])}) then 1000 else 100 end`;
/** What a balance at its minimum needs is rounded up by no more than this, in minor units. */
const LARGEST_STEP = 100;
/** One whose balance is low, that is blocked, or whose limits may leave nothing to charge in some currency. */
const QUESTIONABLE = 'low_since is not null or blocked or max_daily_recharges = 0 or least(max_daily_amount, max_monthly_amount) < 1000';
/**
 * One whose max_charge may not carry what a balance at its minimum needs: one that is not set follows the target, and
 * carries it. Its index goes with it: the last migration that makes `organization_short_of_charge`.
 */
const SHORT_OF_CHARGE = `least(max_charge, ${MAX_CHARGE_MINOR}) < (target_balance - minimum_balance) / quota_per_unit * ${SCALE} + ${LARGEST_STEP}`;

/** What anything at all may be said of. Ordered by id, behind `after`. */
const CONCERNED = `
  select c_organization_id as id from organization_balance_config where not auto_recharge_enabled
  union select c_organization_id from organization_balance_config where ${QUESTIONABLE}
  union select c_organization_id from organization_balance_config where ${SHORT_OF_CHARGE}
  union select organization_id from hold where released_at is null and organization_id is not null
  union select a.organization_id from hold h join card_attempt a on a.fingerprint = split_part(h.subject, ' ', 1)
    where h.released_at is null and h.scope = 'card'
  union select r.organization_id from hold h join recharge r on r.card_fingerprint = split_part(h.subject, ' ', 1)
    where h.released_at is null and h.scope = 'card' and r.status = 'cancelled'
  union select same.c_organization_id from hold h join organization_balance_config own on own.c_organization_id = h.organization_id
    join organization_balance_config same on same.stripe_customer_id = own.stripe_customer_id
    where h.released_at is null and h.scope = 'card'
  union select organization_id from refusal
  union select organization_id from recharge where status in (${sqlList(OPEN_STATUSES)})
  union select organization_id from webhook_event where not processed and organization_id is not null
  union select organization_id from reversal where status in (${sqlList(UNSETTLED_REVERSAL_STATUSES)})
  union select i.organization_id from sync_item i join sync_run s on s.id = i.run_id
    where s.started_at > now() - interval '${DRIFT_WINDOW}' and not s.dry_run and s.status = 'succeeded'
      and i.outcome in (${sqlList(UNSETTLED_OUTCOMES)}) and i.organization_id is not null`;

/**
 * A page of organizations in the order of their ids.
 *
 * @param wanted `concerned`: those of which something may have to be said; `all` of them; or one, by its id.
 */
export async function organizationFacts(
  em: EntityManager,
  wanted: 'concerned' | 'all' | { id: string },
  { limit, after = '' }: { limit: number; after?: string | undefined },
): Promise<{ data: SeenOrganization[]; next: string | null }> {
  const source = wanted === 'concerned' ? CONCERNED : 'select c_organization_id as id from organization_balance_config';
  const [condition, value] = typeof wanted === 'object' ? ['id = ?', wanted.id] : ['id > ?', after];
  const rows = await em.execute<{ id: string }[]>(
    `select c.id from (${source}) c join organization_balance_config o on o.c_organization_id = c.id where c.${condition} order by c.id limit ?`,
    [value, limit + 1],
  );
  const ids = rows.slice(0, limit).map(({ id }) => id);
  return { data: await factsOf(em, ids), next: rows.length > limit ? (ids.at(-1) ?? null) : null };
}

/** How many organizations there are. */
export async function countOrganizations(em: EntityManager): Promise<number> {
  return Number((await em.execute<{ count: string }[]>('select count(*) as count from organization_balance_config'))[0]?.count ?? 0);
}

/** Of these organizations, those that there are. */
export async function factsOf(em: EntityManager, ids: readonly string[]): Promise<SeenOrganization[]> {
  if (ids.length === 0) return [];
  const own = { organizationId: { $in: [...ids] } };
  const open = await em.find(Recharge, { ...own, status: { $in: [...OPEN_STATUSES] } }, { orderBy: { createdAt: 'asc' } });
  const parked = await em.find(Reversal, { ...own, status: 'needs_attention' }, { orderBy: { createdAt: 'asc' } });
  const [holds, events, refusals, drifts, others] = [
    await standingOn(em, ids),
    await openEventsOf(em, ids),
    await refusalsOf(em, ids),
    await driftsOf(em, ids),
    await restOf(em, ids),
  ];
  const settings = new Map((await em.find(Organization, { id: { $in: [...ids] } })).map((each) => [each.id, each]));
  const isLowered = ({ reason }: StandingHold) => reason === 'budget_lowered';
  const expected = await budgets.expected(
    em,
    ids.filter((id) => holds.get(id)?.some(isLowered)),
  );
  const mayBeUnused = ids.filter((id) => settings.get(id)?.createTeam && others.get(id)?.balance?.spend === 0);
  const asked = await askedForQuota(em, mayBeUnused);
  const paid = await paidByEach(
    em,
    ids.filter((id) => refusals.get(id)?.some(({ reason }) => isOfLimit(reason))),
  );
  const standings = await sweepStandings(
    em,
    ids.filter((id) => settings.get(id)?.lowSince),
  );
  const isGone = ({ kind }: StandingDrift) => kind === 'team_deleted';
  const lastBudgets = await budgets.last(
    em,
    ids.filter((id) => drifts.get(id)?.some(isGone)),
  );
  return ids.flatMap((id): SeenOrganization[] => {
    const [rest, organization] = [others.get(id), settings.get(id)];
    if (!rest || !organization) return [];
    const recharge = open.find(({ organizationId }) => organizationId === id);
    return [
      {
        id,
        ...rest,
        stripeCustomerId: organization.stripeCustomerId,
        litellmTeamId: organization.litellmTeamId,
        isAutoRecharged: organization.autoRechargeEnabled,
        settingsAt: organization.updatedAt,
        isBlocked: organization.blocked,
        isTeamAwaited: organization.createTeam && !organization.litellmSeenAt && rest.balance === null,
        isUnused: mayBeUnused.includes(id) && !asked.has(id),
        lowSince: lowSinceOf(organization, rest.balance),
        sweepPause: pauseOf(standings.get(id)),
        limitsOfNothing: limitsOfNothing(policyOf(organization)),
        limitsOfOneCharge: limitsOfOneCharge(policyOf(organization)),
        recharge: recharge ? openRecharge(recharge) : null,
        event: events.get(id) ?? null,
        reversals: parked
          .filter(({ organizationId }) => organizationId === id)
          .map(({ id: reversalId, updatedAt, failureMessage }) => ({ id: reversalId, since: updatedAt, why: failureMessage ?? null })),
        holds: holds.get(id) ?? [],
        refusals: refusals.get(id) ?? [],
        limitsUsed: usedOf(organization, paid.get(id)),
        drifts: (drifts.get(id) ?? []).filter((drift) => !isWishedSince(drift, organization)),
        budgetExpected: expected.get(id) ?? null,
        gone: { left: leftOf(rest.balance), lastBudget: lastBudgets.get(id) ?? null },
      },
    ];
  });
}

function usedOf(organization: Organization, paid: PaidHistory | undefined): LimitsUsed | null {
  return paid ? limitsUsed(policyOf(organization), paid) : null;
}

function pauseOf(standing: SweepStanding | undefined): OrganizationFacts['sweepPause'] {
  const remainingMs = standing ? remainingPauseMs(standing.fruitless) : 0;
  return standing && remainingMs > 0 ? { remainingMs, failures: standing.fruitless.count } : null;
}

/** Since when its balance is low. A write of ours may have ended that, which the next sweep sees. */
function lowSinceOf({ lowSince, minimumBalance }: Organization, balance: SeenOrganization['balance']): Date | null {
  const isAbove = balance !== null && balance.quota !== null && balance.quota - balance.spend > minimumBalance;
  return isAbove ? null : (lowSince ?? null);
}

/** A person has asked for the team that a synchronisation did not find. */
function isWishedSince({ kind }: StandingDrift, { createTeam }: Organization): boolean {
  return kind === 'team_not_found' && createTeam;
}

/** What was left of a budget when it was last seen. */
function leftOf(balance: SeenOrganization['balance']): QuotaMicros | null {
  if (balance === null || balance.quota === null) return null;
  return quotaMicros(Math.max(0, balance.quota - balance.spend));
}

function openRecharge({ id, eventId, status, timeline, updatedAt, amountMinor, currency, failureMessage }: Recharge): OpenRecharge {
  return {
    id,
    eventId,
    status,
    since: new Date(timeline.at(-1)?.at ?? updatedAt),
    underWaySince: underWaySince(timeline)?.since ?? null,
    why: failureMessage ?? null,
    amount: moneyText(amountMinor, currency),
  };
}

/** The oldest event of each that is open and has no recharge: nothing is decided on it. */
async function openEventsOf(em: EntityManager, ids: readonly string[]): Promise<Map<string, OpenEvent>> {
  const rows = await em.execute<{ organization: string; id: string; team_id: string; since: string }[]>(
    `select distinct on (e.organization_id) e.organization_id as organization, e.id, e.team_id, e.received_at as since
     from webhook_event e
     where not e.processed and e.organization_id is not null and e.organization_id in (select jsonb_array_elements_text(?::jsonb))
       and not exists (select from recharge r where r.event_id = e.id)
     order by e.organization_id, e.id`,
    [JSON.stringify(ids)],
  );
  return new Map(rows.map(({ organization, id, team_id: teamId, since }) => [organization, { id, teamId, since: new Date(since) }]));
}

/** A team that is gone is a difference of LiteLLM's, whoever has found that. */
async function refusalsOf(em: EntityManager, ids: readonly string[]): Promise<Map<string, OrganizationFacts['refusals'][number][]>> {
  const rows = await em.execute<{ organization: string; reason: string; since: string }[]>(
    `select f.organization_id as organization, f.reason, f.since
     from refusal f join organization_balance_config o on o.c_organization_id = f.organization_id
     where f.organization_id in (select jsonb_array_elements_text(?::jsonb))
       and not (f.reason = 'team_not_found' and o.litellm_seen_at is not null) order by f.since`,
    [JSON.stringify(ids)],
  );
  const told = rows.flatMap(({ organization, reason, since }) =>
    isToldRefusal(reason) ? [{ organization, reason, since: new Date(since) }] : [],
  );
  return Map.groupBy(told, ({ organization }) => organization);
}

/** Where LiteLLM differs: what the last synchronisation could not settle, unless that has passed, and what the sweep has found gone. */
async function driftsOf(em: EntityManager, ids: readonly string[]): Promise<Map<string, StandingDrift[]>> {
  const [ofSyncs, gone] = [await unsettledOf(em, ids), await goneOf(em, ids)];
  const edited = ofSyncs.filter(({ kind }) => kind === 'budget_edited').map(({ organization }) => organization);
  const expected = await budgets.expected(em, edited);
  // Another budget is expected by now: a write of ours has followed, or a person has accepted what LiteLLM shows.
  const hasPassed = ({ organization, kind, ours }: OwnedDrift) => {
    const budget = expected.get(organization);
    return kind === 'budget_edited' && (budget === undefined || formatQuota(budget) !== ours);
  };
  const standing = ofSyncs.filter((drift) => !hasPassed(drift));
  const isKnown = ({ organization, kind }: OwnedDrift) =>
    standing.some((drift) => drift.organization === organization && drift.kind === kind);
  return Map.groupBy([...standing, ...gone.filter((drift) => !isKnown(drift))], ({ organization }) => organization);
}

type OwnedDrift = StandingDrift & { organization: string };

/** Whether the run `s` has synchronised `o`. */
const SYNCHRONISED = `s.status = 'succeeded' and not s.dry_run and (s.organization_ids is null or s.organization_ids @> to_jsonb(o.id))`;
/** When the run `s` has found the difference that `i` is of; null: it has not. The limit has that looked up by the key, run by run. */
const FOUND_AT = `(select e.at from sync_item e where e.run_id = s.id and e.kind = i.kind and e.subject = i.subject
  and e.organization_id = i.organization_id and e.theirs is not distinct from i.theirs limit 1)`;

/**
 * What the last synchronisation of each could not settle, and since when that has been so: one that has not found it was
 * between this time and the one before.
 */
async function unsettledOf(em: EntityManager, ids: readonly string[]): Promise<OwnedDrift[]> {
  const rows = await em.execute<(Omit<OwnedDrift, 'at' | 'hasFailed'> & { at: string; failed: boolean })[]>(
    `select o.id as organization, i.kind, i.subject, i.ours, i.theirs, i.reason, i.outcome = 'failed' as failed,
       (select min(${FOUND_AT}) from sync_run s where s.id > coalesce(
          (select s.id from sync_run s where ${SYNCHRONISED} and ${FOUND_AT} is null order by s.id desc limit 1), '')) as at
     from jsonb_array_elements_text(?::jsonb) o (id)
     join lateral (
       select id from sync_run s where ${SYNCHRONISED} and s.started_at > now() - interval '${DRIFT_WINDOW}'
       order by s.id desc limit 1) run on true
     join sync_item i on i.run_id = run.id and i.organization_id = o.id and i.outcome in (${sqlList(UNSETTLED_OUTCOMES)})
     -- A team that a sweep has seen since is there, and can be read.
     where not (i.kind in ('team_deleted', 'team_not_found', 'team_missing', 'team_unreadable')
       and exists (select from balance_sample b where b.organization_id = o.id and b.at > i.at))
     order by i.at`,
    [JSON.stringify(ids)],
  );
  return rows.map(({ failed, ...row }) => ({ ...row, hasFailed: failed, at: new Date(row.at) }));
}

/** The teams that LiteLLM had and no longer has, since an alert or a complete sweep has looked for them. */
async function goneOf(em: EntityManager, ids: readonly string[]): Promise<OwnedDrift[]> {
  const rows = await em.execute<{ organization: string; subject: string; ours: string; at: string }[]>(
    `select o.c_organization_id as organization, o.litellm_team_id as subject, o.name as ours, f.since as at
     from refusal f join organization_balance_config o on o.c_organization_id = f.organization_id
     where f.organization_id in (select jsonb_array_elements_text(?::jsonb)) and f.reason = 'team_not_found' and o.litellm_seen_at is not null`,
    [JSON.stringify(ids)],
  );
  const gone = { kind: 'team_deleted', theirs: null, reason: null, hasFailed: false } as const;
  return rows.map(({ at, ...row }) => ({ ...row, ...gone, at: new Date(at) }));
}

type Rest = Pick<SeenOrganization, 'balance' | 'nextDay' | 'nextMonth'>;
type RestRow = Record<'id' | 'next_day' | 'next_month', string> & {
  quota: string | null;
  spend: string | null;
  at: string | null;
};

/** SQL for the beginning of the next day or month in the zone of `o`: a day in which clocks are changed is none of 24 hours. */
function beginningOfNext(unit: 'day' | 'month'): string {
  return midnight(`date_trunc('${unit}', now() at time zone o.zone) + interval '1 ${unit}'`, 'o.zone');
}

/**
 * SQL for what is known of the balance of `o`: the newest of what a sweep has seen and what our own writes have left. A
 * write says nothing of the spend, which is that of the newest look; a recharge has looked when it was reserved. The balance
 * is as old as that look. A recharge that a person has accepted says neither.
 */
const BALANCE = `
  select figure.quota, look.spend, look.at from (
    select * from (
      (select quota, spend, at from balance_sample where organization_id = o.id order by at desc limit 1)
      union all (select quota_before, quota_before - balance_seen, created_at from recharge
        where organization_id = o.id and litellm_team_id = o.team and quota_before is not null order by created_at desc limit 1)) seen
    order by at desc limit 1) look,
  lateral (
    select * from (
      select look.quota, look.at
      union all (select quota_after, updated_at from recharge
        where organization_id = o.id and litellm_team_id = o.team and status = 'succeeded' and quota_after is not null
        order by updated_at desc limit 1)
      union all (select ${budgets.LEFT_BY_REVERSAL}, updated_at from reversal v
        where organization_id = o.id and litellm_team_id = o.team and status in (${sqlList(WRITTEN_REVERSAL_STATUSES)})
          and ${budgets.LEFT_BY_REVERSAL} is not null order by updated_at desc limit 1)) written
    order by at desc limit 1) figure`;

async function restOf(em: EntityManager, ids: readonly string[]): Promise<Map<string, Rest>> {
  const rows = await em.execute<RestRow[]>(
    `select o.id, ${beginningOfNext('day')} as next_day,
       ${beginningOfNext('month')} as next_month, b.quota::text as quota, b.spend::text as spend, b.at
     from (
       select c_organization_id as id, litellm_team_id as team, known_time_zone(time_zone) as zone from organization_balance_config
       where c_organization_id in (select jsonb_array_elements_text(?::jsonb)) offset 0) o
     left join lateral (${BALANCE}) b on true`,
    [JSON.stringify(ids)],
  );
  return new Map(
    rows.map(({ id, next_day: nextDay, next_month: nextMonth, quota, spend, at }) => [
      id,
      {
        nextDay: new Date(nextDay),
        nextMonth: new Date(nextMonth),
        balance:
          at === null || spend === null
            ? null
            : { quota: quota === null ? null : parseQuota(quota), spend: parseQuota(spend), at: new Date(at) },
      },
    ]),
  );
}

/** What the database tells of the service itself. */
export async function serviceFacts(em: EntityManager): Promise<Pick<ServiceFacts, 'holds' | 'lags' | 'underWay'>> {
  const { data } = await listHolds(em, { scope: 'service', isOpen: true }, { limit: MAX_SERVICE_HOLDS, cursor: undefined });
  return {
    holds: data.map((hold) => ({ ...hold, until: hold.until ?? null })),
    lags: await lags(em),
    underWay: await runsUnderWay(em),
  };
}

/** Without those whose recharge a bank processes: that takes days. */
async function runsUnderWay(em: EntityManager): Promise<RunsUnderWay> {
  const [row] = await em.execute<{ count: string; oldest: number | null }[]>(
    `select count(*) as count, (extract(epoch from now() - min(dispatched_at)) * 1000)::float as oldest
     from webhook_event e where not processed and organization_id is not null and dispatched_at is not null
       and not exists (select from recharge r where r.event_id = e.id and r.status = 'processing')`,
  );
  return { count: Number(row?.count ?? 0), oldestMs: row?.oldest ?? null };
}

/** What has arrived and waits to be handed on, by the inboxes of LiteLLM and Stripe and by the outbox. */
export async function lags(em: EntityManager): Promise<Lag[]> {
  const rows = await em.execute<{ what: string; waiting: string; oldest: number | null }[]>(
    `select 'alerts' as what, count(*) as waiting, (extract(epoch from now() - min(received_at)) * 1000)::float as oldest
       from webhook_event where dispatched_at is null and not processed
     union all select 'events of Stripe', count(*), (extract(epoch from now() - min(received_at)) * 1000)::float
       from stripe_event where handled_at is null
     union all select 'outbound events', count(*), (extract(epoch from now() - min(created_at)) * 1000)::float
       from outbound_event where routed_at is null`,
  );
  return rows.map(({ what, waiting, oldest }) => ({ what, waiting: Number(waiting), oldestMs: oldest }));
}
