/**
 * Money that goes back to the customer: how Stripe is made to speak of it, and what has become of the quota.
 */
import { expect } from '@jest/globals';
import { Database } from '../../src/database/database.ts';
import * as ledger from '../../src/database/ledger.ts';
import type { ReversalRow } from './answers.ts';
import { REFUNDED } from './books.ts';
import { tellEverythingAgain } from './stripe-events.ts';
import { type Organization, type RechargeIds, World } from './world.ts';

/** A world whose service hears Stripe's events, and the ledger beside it. */
export class ReversalScene {
  readonly world: World;
  readonly database: Database;

  private constructor(world: World, database: Database) {
    this.world = world;
    this.database = database;
  }

  static async start(): Promise<ReversalScene> {
    const world = await World.start({ STRIPE_WEBHOOK_SECRETS: 'whsec_signs_the_events' });
    return new ReversalScene(world, await Database.open(world.config.databaseUrl));
  }

  /** Nothing fails any more, events arrive, and a refund succeeds at once. */
  async calm(): Promise<void> {
    await this.world.clearFaults();
    await this.hear(true);
    await this.world.stripeKnob('refunds/mode', { status: 'succeeded' });
  }

  async close(): Promise<void> {
    await this.database.close();
    await this.world.close();
  }

  /** Whether Stripe's events reach the service. */
  async hear(isEnabled: boolean): Promise<void> {
    await this.world.stripeKnob('webhooks', { enabled: isEnabled });
  }

  /** The refund or dispute as the service knows it. */
  async reversal(id: string): Promise<ReversalRow | undefined> {
    return (await this.world.sql.query('select * from reversal where id = $1', [id])).rows[0];
  }

  /** The kinds of the recharge's ledger transfers, the first one first. */
  async transfersOf(rechargeId: string): Promise<string[]> {
    const query = 'select kind from ledger_transfer where recharge_id = $1 order by sequence';
    return (await this.world.sql.query(query, [rechargeId])).rows.map(({ kind }) => kind);
  }

  /** What the oldest hold on the organization says; null where there is none. */
  async heldFor({ id }: Organization): Promise<string | null> {
    return (await this.world.admin.get(`/api/v1/organizations/${id}`)).data.holds[0]?.detail ?? null;
  }

  /** The recharge or reversal that is writing the budget. */
  async budgetWriter({ id }: Organization): Promise<string | null> {
    const query = 'select budget_writer from organization_balance_config where c_organization_id = $1';
    return (await this.world.sql.query(query, [id])).rows[0].budget_writer;
  }

  /** A charge that LiteLLM refuses to grant, and that is refunded therefore. */
  async refundedByUs(organization: Organization): Promise<RechargeIds> {
    const refusal = await this.world.refuseBudget(organization, { kind: 'respond', status: 400, body: { error: { message: 'no' } } });
    const eventId = await this.world.accepted(organization);
    expect(await this.world.closed(eventId)).toEqual(REFUNDED);
    await refusal.remove();
    return this.world.rechargeIs(eventId, 'refunded');
  }

  /**
   * Every event that Stripe has of the recharge comes once more; waits until all is done that follows from
   * them.
   */
  tellEverythingAgain(ids: RechargeIds): Promise<void> {
    return tellEverythingAgain(this.world, ids);
  }

  /** One of Stripe's events of a dispute arrives. */
  async hearOf(disputeId: string, intentId: string, type: string): Promise<void> {
    await this.world.sql.query(
      "insert into stripe_event (id, type, object_id, payment_intent_id) values ('evt_' || $3 || $1, $3, $1, $2)",
      [disputeId, intentId, type],
    );
  }

  /**
   * The oracle: nothing is held, what Stripe has of the customer's is what the ledger has granted, and the
   * budget is just that.
   */
  async expectBalanced(organization: Organization, { start = 10 } = {}): Promise<void> {
    const { captured, refunded, disputed, granted, prepaid, quota } = await this.world.accounts(organization);
    expect({ prepaid, granted }).toEqual({ prepaid: 0, granted: captured - refunded - disputed });
    expect(await this.world.budgetOf(organization.teamId)).toBeCloseTo(start + quota, 6);
    expect(await ledger.verify(this.database.fork(), organization.id)).toMatchObject({ faults: [] });
    expect(await this.budgetWriter(organization)).toBeNull();
  }
}
