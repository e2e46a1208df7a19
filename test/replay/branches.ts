/**
 * Every branch of every workflow, as something that happens in a world. Each returns the id of the run that
 * took it.
 */
import { randomUUID } from 'node:crypto';
import type { Client } from '@temporalio/client';
import { rechargeWorkflowId } from '../../src/temporal/starter.ts';
import { ALWAYS, READ_BUDGET, UNAVAILABLE, WRITE_BUDGET } from '../support/faults.ts';
import type { Organization, OrganizationWish, World } from '../support/world.ts';

/** What a branch happens in. `pass` lets days pass at once, where the world can. */
export type Stage = { world: World; client: Client; pass: (milliseconds: number) => Promise<unknown> };
export type Branch = (stage: Stage) => Promise<string>;

const MINUTE_MS = 60_000;

/** Those that take a minute at most. */
export const BRANCHES: Record<string, Branch> = {
  'recharge-recharged': async ({ world }) => run(await alert(world)),
  'recharge-above-minimum': async ({ world }) => run(await alert(world, { spend: 1 }, { spend: 1 })),
  'recharge-spend-flushed-later': async ({ world }) => {
    const alerted = await alertAheadOfSpend(world);
    await world.spend(alerted.organization.teamId, 5.5);
    return run(alerted);
  },
  'recharge-refused': async ({ world }) => {
    const organization = await world.organization();
    await world.admin.post(`/api/v1/organizations/${organization.id}/suspend`, {});
    return run(await alertOf(world, organization));
  },
  'recharge-declined': async ({ world }) => run(await alert(world, { card: 'pm_card_chargeCustomerFail' })),
  'recharge-action-required': async ({ world }) => run(await alert(world, { card: 'pm_card_authenticationRequired' })),
  'recharge-processing-then-captured': ({ world }) => bankDebit(world, 'succeeded'),
  'recharge-processing-then-failed': ({ world }) => bankDebit(world, 'failed'),
  'recharge-processing-then-captured-without-an-event': async ({ world }) => {
    await world.stripeKnob('webhooks', { enabled: false });
    return bankDebit(world, 'succeeded');
  },
  'recharge-refunded': async ({ world }) => run(await chargedAndTeamGone(world)),
  'recharge-refund-pending-then-refunded': ({ world }) => refundPending(world, 'succeeded'),
  'recharge-refund-pending-then-failed': ({ world }) => refundPending(world, 'failed'),
  'recharge-needs-attention': ({ world }) => chargedAndEdited(world),
  'recharge-cancelled-while-looking': async ({ world, client }) => {
    const organization = await world.organization();
    await world.kmsFault({ ...READ_BUDGET, times: ALWAYS, action: UNAVAILABLE });
    const { eventId } = await alertOf(world, organization);
    await world.eventually(async () => (await world.strikes()) > 0, 'the balance is looked at');
    await client.workflow.getHandle(run({ organization, eventId })).cancel();
    return run({ organization, eventId });
  },
  'recharge-cancelled-while-reserved': (stage) => cancelledWhileReserved(stage),
  'recharge-cancelled-too-late': async ({ world, client }) => {
    await world.stripeFault({ path: '/v1/payment_intents/*/confirm', when: 'after', action: { kind: 'delay', ms: 2_000 } });
    const { organization, eventId } = await alert(world);
    await becomes(world, eventId, 'charging');
    await client.workflow.getHandle(run({ organization, eventId })).cancel();
    return run({ organization, eventId });
  },
  'recharge-told-by-its-moves-recharged': async ({ world }) => run(await alert(world)),
  'recharge-told-by-its-moves-declined': async ({ world }) => run(await alert(world, { card: 'pm_card_chargeCustomerFail' })),
  'recharge-told-by-its-moves-processing-then-captured': ({ world }) => bankDebit(world, 'succeeded'),
  'recharge-told-by-its-moves-refunded': async ({ world }) => run(await chargedAndTeamGone(world)),
  'recharge-told-by-its-moves-needs-attention': ({ world }) => chargedAndEdited(world),
  'recharge-local-first-recharged': async ({ world }) => run(await alert(world)),
  'recharge-local-first-then-as-an-activity': async ({ world }) => {
    const organization = await world.organization();
    await world.kmsFault({ ...READ_BUDGET, times: 3, action: UNAVAILABLE });
    return run(await alertOf(world, organization));
  },
  'recharge-local-first-refused': async ({ world }) => run(await alert(world, { spend: 1 }, { spend: 1 })),
  'recharge-local-first-declined': async ({ world }) => run(await alert(world, { card: 'pm_card_chargeCustomerFail' })),
  'recharge-local-first-processing-then-captured': ({ world }) => bankDebit(world, 'succeeded'),
  'recharge-local-first-refund-pending-then-refunded': ({ world }) => refundPending(world, 'succeeded'),
  'recharge-local-first-needs-attention': ({ world }) => chargedAndEdited(world),
  'recharge-local-first-cancelled-while-reserved': (stage) => cancelledWhileReserved(stage),
  'reversal-taken-back': async ({ world }) => {
    const { rechargeId, intentId } = await recharged(world);
    await world.stripe.refunds.create({ payment_intent: intentId });
    return reversalOf(rechargeId);
  },
  'reversal-given-back': async ({ world }) => {
    const { rechargeId, intentId } = await recharged(world);
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await reversalIs(world, id, 'taken_back');
    await world.stripeKnob(`disputes/${id}`, { status: 'won' });
    await reversalIs(world, id, 'given_back');
    return reversalOf(rechargeId);
  },
  'reversal-parked': async ({ world }) => {
    const { organization, rechargeId, intentId } = await recharged(world);
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await reversalIs(world, id, 'taken_back');
    await world.deleteTeam(organization.teamId);
    await world.stripeKnob(`disputes/${id}`, { status: 'won' });
    await reversalIs(world, id, 'needs_attention');
    return reversalOf(rechargeId);
  },
  'reconcile-with-a-lost-recharge': async ({ world, client }) => {
    const { organization } = await recharged(world);
    const other = await recharged(world);
    await world.setBudget(other.organization.teamId, 77);
    await lose(world, organization);
    return start(client, world, 'reconcileWorkflow', [{ fix: true }]);
  },
  'reconcile-without-fix': ({ world, client }) => start(client, world, 'reconcileWorkflow', []),
  'sweep-with-a-crossing': async ({ world, client }) => {
    await world.organization();
    return start(client, world, 'balanceSweepWorkflow', []);
  },
  'sweep-that-tells-what-is-overdue': async ({ world, client }) => {
    await world.organization();
    return start(client, world, 'balanceSweepWorkflow', []);
  },
  'retention-removes-what-is-past-its-time': async ({ world, client }) => {
    await world.sql.query(
      `insert into stripe_event (id, type, object_id, received_at, handled_at) values ('evt_old', 'refund.updated', 're_1', now() - interval '1 year', now())`,
    );
    return start(client, world, 'retentionWorkflow', []);
  },
  'sync-makes-what-is-missing': async ({ world, client }) => {
    const wish = { stripe_customer_id: 'cus_sync', minimum_balance: '2.00', target_balance: '20.00', create_team: true };
    await world.admin.post('/api/v1/organizations', { c_organization_id: 'not-in-litellm-yet', ...wish });
    return start(client, world, 'teamSyncWorkflow', [{}]);
  },
  'sync-cancelled': async ({ world, client }) => {
    await world.kmsFault({ path: '/v2/team/list', times: 1000, action: { kind: 'respond', status: 503 } });
    const workflowId = await start(client, world, 'teamSyncWorkflow', [{ dry_run: true }]);
    await client.workflow.getHandle(workflowId).cancel();
    return workflowId;
  },
};

/**
 * Those that take longer, as time passes. The histories of `recharge-alarm-…` and `recharge-notification-…`
 * are of runs that told their outbound events themselves; no run does so any more.
 */
export const LONG_BRANCHES: Record<string, Branch> = {
  'recharge-spend-never-flushed': async ({ world, pass }) => {
    const alerted = await alertAheadOfSpend(world);
    await pass(5 * MINUTE_MS);
    return run(alerted);
  },
};

type Alerted = { organization: Organization; eventId: string };
type Recharged = Alerted & { rechargeId: string; intentId: string };

function run({ organization, eventId }: Alerted): string {
  return rechargeWorkflowId({ organizationId: organization.id, eventId });
}

function reversalOf(rechargeId: string): string {
  return `reversal/${rechargeId}`;
}

async function alert(world: World, wish: OrganizationWish = {}, body: Record<string, unknown> = {}): Promise<Alerted> {
  return alertOf(world, await world.organization(wish), body);
}

async function alertOf(world: World, organization: Organization, body: Record<string, unknown> = {}): Promise<Alerted> {
  const { data } = await world.alert(organization.teamId, { body });
  return { organization, eventId: data.event_id };
}

/** An alert about spend that LiteLLM does not show, at which the balance has been looked at once. */
async function alertAheadOfSpend(world: World): Promise<Alerted> {
  // It changes nothing, and is counted.
  await world.kmsFault({ ...READ_BUDGET, action: { kind: 'delay', ms: 0 } });
  const alerted = await alert(world, { spend: 5 });
  await world.eventually(async () => (await world.strikes()) > 0, 'the balance is looked at');
  return alerted;
}

async function becomes(
  world: World,
  eventId: string,
  status: string,
): Promise<{ id: string; payment_intent_id: string; refund_id: string }> {
  const query = 'select id, payment_intent_id, refund_id from recharge where event_id = $1 and status = $2';
  return world.eventually(async () => (await world.sql.query(query, [eventId, status])).rows[0], `a recharge that is ${status}`);
}

async function recharged(world: World): Promise<Recharged> {
  const alerted = await alert(world);
  const { id, payment_intent_id } = await becomes(world, alerted.eventId, 'succeeded');
  await world.closed(alerted.eventId);
  return { ...alerted, rechargeId: id, intentId: payment_intent_id };
}

/** LiteLLM does not take the budget, whose plan is stored, until `clearFaults`. */
async function charged(world: World): Promise<Alerted> {
  await world.kmsFault({ ...WRITE_BUDGET, times: ALWAYS, action: UNAVAILABLE });
  const alerted = await alert(world);
  await world.eventually(async () => (await world.strikes()) > 0, 'LiteLLM is asked to raise the budget');
  return alerted;
}

/** Somebody edits the budget between the charge and the raise. */
async function chargedAndEdited(world: World): Promise<string> {
  const alerted = await charged(world);
  await world.setBudget(alerted.organization.teamId, 99);
  await world.clearFaults();
  return run(alerted);
}

async function cancelledWhileReserved({ world, client }: Stage): Promise<string> {
  const organization = await world.organization();
  await world.stripeFault({ path: '/v1/customers/*', times: ALWAYS, action: UNAVAILABLE });
  const alerted = await alertOf(world, organization);
  await becomes(world, alerted.eventId, 'reserved');
  await client.workflow.getHandle(run(alerted)).cancel();
  return run(alerted);
}

async function chargedAndTeamGone(world: World): Promise<Alerted> {
  const alerted = await charged(world);
  await world.deleteTeam(alerted.organization.teamId);
  await world.clearFaults();
  return alerted;
}

async function bankDebit(world: World, outcome: 'succeeded' | 'failed'): Promise<string> {
  const { organization, eventId } = await alert(world, { card: 'pm_usBankAccount' });
  const { payment_intent_id } = await becomes(world, eventId, 'processing');
  await world.stripeKnob(`payment_intents/${payment_intent_id}/settle`, { outcome });
  return run({ organization, eventId });
}

async function refundPending(world: World, status: 'succeeded' | 'failed'): Promise<string> {
  await world.stripeKnob('refunds/mode', { status: 'pending' });
  const { organization, eventId } = await chargedAndTeamGone(world);
  const { refund_id } = await becomes(world, eventId, 'refunding').then(() =>
    world.eventually(async () => {
      const seen = await becomes(world, eventId, 'refunding');
      return seen.refund_id ? seen : undefined;
    }, 'the refund is asked for'),
  );
  await world.stripeKnob(`refunds/${refund_id}`, { status });
  return run({ organization, eventId });
}

async function reversalIs(world: World, id: string, status: string): Promise<void> {
  const query = 'select 1 from reversal where id = $1 and status = $2';
  await world.eventually(async () => (await world.sql.query(query, [id, status])).rows[0], `reversal ${id} ${status}`);
}

async function start(client: Client, world: World, type: string, args: unknown[]): Promise<string> {
  const workflowId = `${type}/${randomUUID()}`;
  await client.workflow.start(type, { workflowId, taskQueue: world.name, args });
  return workflowId;
}

/** As a restore from a backup would: neither privilege nor trigger stops it. */
async function lose(world: World, { id }: Organization): Promise<void> {
  const connection = await world.sql.connect();
  try {
    await connection.query("set session_replication_role = 'replica'");
    for (const table of ['ledger_transfer', 'recharge', 'webhook_event']) {
      await connection.query(`delete from ${table} where organization_id = $1`, [id]);
    }
    await connection.query(
      "update organization_balance_config set ledger_sequence = 0, ledger_hash = '', version = 0 where c_organization_id = $1",
      [id],
    );
  } finally {
    connection.release(true);
  }
}

/** Everything as it was, for the next branch. */
export async function tidy(world: World): Promise<void> {
  await world.clearFaults();
  await world.stripeKnob('webhooks', { enabled: true });
  await world.stripeKnob('refunds/mode', { status: 'succeeded' });
}
