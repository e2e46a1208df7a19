/** What happens at Stripe without us: refunds and disputes of what one customer has paid, and an amount that changes. */
import axios from 'axios';
import type { Deeds, Returned } from './deeds.ts';
import type { Environment } from './environment.ts';
import { persist } from './patience.ts';
import type { StepOf } from './schedule.ts';

const PART = 0.4;
/** In a dollar; the organizations whose money goes back get quota at par. */
const CENTS = 100;

export class StripeSide {
  private readonly environment: Environment;
  private readonly deeds: Deeds;
  private readonly whose: { organizationId: string; customerId: string };

  constructor(environment: Environment, deeds: Deeds, whose: { organizationId: string; customerId: string }) {
    this.environment = environment;
    this.deeds = deeds;
    this.whose = whose;
  }

  /** False when no such payment has anything left. A payment that was refunded may be disputed all the same. */
  async returnMoney({ by, before }: StepOf<'return money'>): Promise<boolean> {
    const { stripe, stripeServer } = this.environment;
    const { data } = await stripe.charges.list({ customer: this.whose.customerId });
    const charge = data.filter(({ captured, disputed }) => captured && !disputed)[before ?? 0];
    const intentId = charge?.payment_intent;
    if (!charge || typeof intentId !== 'string') return false;
    const left = charge.amount_captured - charge.amount_refunded;
    if (by === 'a dispute') {
      const { data: dispute } = await axios.post(`${stripeServer.url}/_sandbox/disputes`, { payment_intent: intentId });
      this.note({ id: dispute.id, kind: 'dispute', intentId, amount: dispute.amount });
      return true;
    }
    const amount = by === 'a refund of a part' ? Math.floor(left * PART) : left;
    if (amount === 0) return false;
    const refund = await stripe.refunds.create({ payment_intent: intentId, amount });
    this.note({ id: refund.id, kind: 'refund', intentId, amount });
    return true;
  }

  /** The refund or dispute that was made last: a refund fails, a dispute is won or lost. */
  async decide(as: 'won' | 'lost'): Promise<boolean> {
    const last = this.deeds.returned.findLast(({ isGone }) => isGone);
    if (!last || (last.kind === 'refund' && as === 'lost')) return false;
    const { url } = this.environment.stripeServer;
    if (last.kind === 'dispute') await axios.post(`${url}/_sandbox/disputes/${last.id}`, { status: as });
    else await axios.post(`${url}/_sandbox/refunds/${last.id}`, { status: 'failed' });
    last.isGone = as === 'lost';
    if (!last.isGone) this.deeds.given += last.amount / CENTS;
    return true;
  }

  /** Of the intent that waits to be confirmed. */
  async changeAmount(byCents: number): Promise<void> {
    const { sql, stripe } = this.environment;
    const query = `select payment_intent_id as id, amount_minor::int as amount from recharge where organization_id = $1 and status = 'charging'`;
    const { rows } = await persist('the intent is looked up', () =>
      sql.query<{ id: string; amount: number }>(query, [this.whose.organizationId]),
    );
    const [waiting] = rows;
    if (!waiting) return;
    // Refused where a slow machine has let it be confirmed meanwhile.
    const change = stripe.paymentIntents.update(waiting.id, { amount: waiting.amount + byCents });
    const isChanged = await change.then(
      () => true,
      () => false,
    );
    this.deeds.amountChanged ||= isChanged;
  }

  private note(returned: Omit<Returned, 'isGone'>): void {
    // The quota follows, and the balance falls with it.
    this.deeds.crossings++;
    this.deeds.returned.push({ ...returned, isGone: true });
  }
}
