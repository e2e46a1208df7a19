/**
 * What happens to one organization, or to a few that share something, in one run: a list of steps that can be
 * read aloud, and cut down to the steps that matter.
 */
import type { HoldReason } from '../../src/domain/hold.ts';

/** A call of ours to Stripe or LiteLLM that can meet a fault. */
export const CALLS = {
  'read the customer': { server: 'stripe', method: 'GET', path: '/v1/customers/*' },
  'create the intent': { server: 'stripe', method: 'POST', path: '/v1/payment_intents' },
  'confirm the intent': { server: 'stripe', method: 'POST', path: '/v1/payment_intents/*/confirm' },
  'list the payments': { server: 'stripe', method: 'GET', path: '/v1/payment_intents' },
  'read the intent': { server: 'stripe', method: 'GET', path: '/v1/payment_intents/*' },
  'cancel the intent': { server: 'stripe', method: 'POST', path: '/v1/payment_intents/*/cancel' },
  'look for a refund': { server: 'stripe', method: 'GET', path: '/v1/refunds' },
  refund: { server: 'stripe', method: 'POST', path: '/v1/refunds' },
  'read the team': { server: 'litellm', method: 'GET', path: '/team/info' },
  'write the budget': { server: 'litellm', method: 'POST', path: '/team/update' },
  'ask for readiness': { server: 'litellm', method: 'GET', path: '/health/readiness' },
} as const;
export type CallName = keyof typeof CALLS;

/** What comes back instead of the answer. */
export const MISFORTUNES = ['500', 'saved 500', '409', '429', 'HTML', 'half an answer', 'reset', 'delay', 'hang'] as const;
export type Misfortune = (typeof MISFORTUNES)[number];

export const ACTIVITIES = [
  'checkLimits',
  'releaseReservation',
  'chargeStripe',
  'recordRecharge',
  'updateKmsQuota',
  'refundCharge',
  'closeEvent',
] as const;
export type ActivityName = (typeof ACTIVITIES)[number];

/**
 * Where in an activity it goes wrong: before its work, right after one of its commits, or after all of it. A
 * transaction is a commit of several statements.
 */
export type MishapPoint = 'before' | 'first commit' | 'second commit' | 'first transaction' | 'after';

export type AlertProof = 'Standard Webhooks' | 'X-LiteLLM-Signature' | 'token';

export type Step =
  | { kind: 'pause'; ms: number }
  /** Until nothing of this organization is open any more, or for so long. */
  | { kind: 'rest'; ms: number }
  /** Until a recharge is in this status, or for so long: to strike at a known moment. */
  | { kind: 'until'; status: 'reserved' | 'charging' | 'charged'; ms: number }
  /** Until the fault that was armed last has struck, or for so long. */
  | { kind: 'until struck'; ms: number }
  | { kind: 'alert'; event: string; proof: AlertProof; copies: number; tells: 'what is so' | 'the first budget' | 'spend to come' }
  /** The last signed delivery once more, under its webhook-id. */
  | { kind: 'replay'; times: number }
  /** The webhook-id of the last signed delivery with another body. */
  | { kind: 'conflict' }
  /** Spends what is left of the budget and so much more; the team has crossed then. */
  | { kind: 'use up'; over: number }
  | { kind: 'spend'; dollars: number }
  | { kind: 'settings'; change: SettingsChange }
  | { kind: 'suspend' }
  | { kind: 'resume' }
  /** An operator stops the charges of this organization, or of the service. */
  | { kind: 'hold'; scope: 'organization' | 'service' }
  /** An operator ends the open holds of these reasons, of every organization of the run and of the service. */
  | { kind: 'release'; reasons: HoldReason[] }
  /** A sweep looks at every balance, other runs' too. */
  | { kind: 'sweep' }
  /** Once everything is settled, so much time passes for the run's organizations. */
  | { kind: 'time'; minutes: number }
  /** LiteLLM refuses to raise budgets: with 400 for a team, with 403 whatever the team. Until it takes them. */
  | { kind: 'refuse raises'; of: 'the team' | 'everybody' }
  | { kind: 'take raises' }
  /** Stripe knows no customer. Until it does. */
  | { kind: 'wrong mode' }
  | { kind: 'right mode' }
  /** Such calls wait until the gate is opened, or the first alone; without `when` before their effect. */
  | { kind: 'gate'; call: CallName; when?: 'before' | 'after'; once?: true }
  | { kind: 'open the gate' }
  /** In each organization of the run at once. */
  | { kind: 'everybody'; step: Step }
  /** In the first of the other organizations. */
  | { kind: 'other'; step: Step }
  | { kind: 'card'; behaves: CardBehaviour }
  /** Somebody else raises or lowers the budget in LiteLLM, or takes it away. */
  | { kind: 'edit budget'; by: number | 'unlimited' }
  | { kind: 'delete team' }
  /** An operator cancels the workflow of the latest event. */
  | { kind: 'cancel' }
  /** An operator settles what is parked. */
  | { kind: 'resolve'; by: 'grant' | 'refund' }
  /** The database and LiteLLM are copied, of this organization. */
  | { kind: 'back up' }
  /**
   * They are what they were at that moment, or one of them is; once everything is settled. What is parked by it, a
   * person grants, refunds or accepts in the end.
   */
  | { kind: 'restore'; what: 'the database' | 'LiteLLM' | 'both'; parked: 'grant' | 'refund' | 'accept' }
  /** Right after a payment Stripe lists none. Until it lists them. */
  | { kind: 'hide payments' }
  | { kind: 'show payments' }
  /** Somebody refunds the newest payment at Stripe, or the one before, or the customer disputes it. */
  | { kind: 'return money'; by: 'a refund' | 'a refund of a part' | 'a dispute'; before?: 1 }
  /** Of what was returned last a refund fails, a dispute is won or lost. */
  | { kind: 'decide'; as: 'won' | 'lost' }
  /** Somebody changes the amount of the intent that waits to be confirmed, in cents. */
  | { kind: 'change the amount'; by: number }
  | { kind: 'Stripe events'; are: EventsTreatment }
  /** What the schedule does each hour, and for everybody. */
  | { kind: 'reconcile' }
  /** Of this organization, so many at once. */
  | { kind: 'synchronise'; times: number }
  /** Stripe forgets its idempotency keys, as it may after a day. */
  | { kind: 'prune keys' }
  | { kind: 'fault'; call: CallName; when: 'before' | 'after'; what: Misfortune; skip: number; times: number; ms: number; kills?: true }
  | { kind: 'mishap'; activity: ActivityName; point: MishapPoint; skip: number; ending: 'throws' | 'dies' }
  /** Befalls the whole environment so long after this point, whatever is being done by then. */
  | { kind: 'disturb'; what: Disturbance; afterMs: number }
  /** So long after alerts were sent to it: before the commit, after it, or after the answer. */
  | { kind: 'kill the API'; ms: number };

export type StepOf<K extends Step['kind']> = Extract<Step, { kind: K }>;

export const DISTURBANCES = [
  'kill the worker',
  'kill the API',
  'restart PostgreSQL',
  'restart Temporal',
  'start a sweep',
  'start a reconciliation',
] as const;
export type Disturbance = (typeof DISTURBANCES)[number];

/** What becomes of Stripe's events of the customer. */
export type EventsTreatment = 'delivered' | 'lost' | 'doubled' | 'late';

export type SettingsChange = Partial<{
  target_balance: string;
  minimum_balance: string;
  quota_per_unit: string;
  max_daily_recharges: number;
  auto_recharge_enabled: boolean;
}>;

export const CARD_BEHAVIOURS = {
  'pays again': 'pm_card_visa',
  'is declined': 'pm_card_chargeDeclined',
  'is reported lost': 'pm_card_chargeDeclinedLostCard',
  'has expired': 'pm_card_chargeDeclinedExpiredCard',
  'wants the cardholder': 'pm_card_authenticationRequired',
  'has become a bank account, which settles later': 'pm_usBankAccount',
} as const;
export type CardBehaviour = keyof typeof CARD_BEHAVIOURS;

/** An organization as it begins, in dollars. */
export type Start = {
  budget: number;
  spend: number;
  minimum: number;
  target: number;
  maxDailyRecharges: number;
  maxCharge: number;
  maxDailyAmount: number;
  maxMonthlyAmount: number;
};

/** Further organizations that begin like the first. Who shares the service plays while nobody else does. */
export type Others = { count: number; share: 'a card' | 'the service' };

export type Schedule = { start: Start; others?: Others; steps: Step[] };

/** Whether the schedule does something to the whole service, so that no other run may be under way. */
export function playsAlone({ others }: Pick<Schedule, 'others'>): boolean {
  return others?.share === 'the service';
}

/** The step in words. */
export function describe(step: Step): string {
  switch (step.kind) {
    case 'pause':
      return `${step.ms} ms pass`;
    case 'rest':
      return `everything is settled, or ${step.ms / 1000} s pass`;
    case 'until':
      return `a recharge is ${step.status}, or ${step.ms / 1000} s pass`;
    case 'until struck':
      return `the last armed fault strikes, or ${step.ms / 1000} s pass`;
    case 'alert': {
      const times = step.copies > 1 ? `${step.copies} copies of ` : '';
      return `LiteLLM sends ${times}${step.event}, by ${step.proof}, telling of ${step.tells}`;
    }
    case 'replay':
      return `the last signed delivery comes again${step.times > 1 ? `, ${step.times} times at once` : ''}`;
    case 'conflict':
      return 'the last webhook-id comes with another body';
    case 'use up':
      return `the team uses up its budget${step.over ? ` and ${step.over} more` : ''}`;
    case 'spend':
      return `the team spends ${step.dollars}`;
    case 'settings':
      return `an operator sets ${JSON.stringify(step.change)}`;
    case 'suspend':
      return 'an operator suspends the organization';
    case 'resume':
      return 'an operator resumes the organization';
    case 'hold':
      return `an operator holds the ${step.scope}`;
    case 'release':
      return `an operator releases the holds for ${step.reasons.join(', ')}`;
    case 'sweep':
      return 'a sweep looks at every balance';
    case 'time':
      return `everything is settled, and ${step.minutes} minutes pass`;
    case 'refuse raises':
      return step.of === 'everybody' ? 'LiteLLM answers every raise with 403' : 'LiteLLM answers raises of the team with 400';
    case 'take raises':
      return 'LiteLLM takes raises again';
    case 'wrong mode':
      return 'Stripe knows no customer';
    case 'right mode':
      return 'Stripe knows the customers again';
    case 'gate':
      return `armed: ${step.once ? 'one ' : ''}"${step.call}" waits for the gate ${step.when ?? 'before'} its effect`;
    case 'open the gate':
      return 'the gate is opened';
    case 'everybody':
      return `in each organization: ${describe(step.step)}`;
    case 'other':
      return `in the other organization: ${describe(step.step)}`;
    case 'card':
      return `the card ${step.behaves}`;
    case 'edit budget':
      return step.by === 'unlimited' ? 'somebody else makes the team unlimited' : `somebody else changes the budget by ${step.by}`;
    case 'delete team':
      return 'somebody deletes the team in LiteLLM';
    case 'cancel':
      return 'an operator cancels the workflow of the latest event';
    case 'resolve':
      return `an operator settles what is parked: ${step.by}`;
    case 'back up':
      return 'the database and LiteLLM are copied';
    case 'restore':
      return `everything is settled, and ${step.what === 'both' ? 'both are' : `${step.what} is`} restored (${step.parked} what is parked)`;
    case 'hide payments':
      return 'Stripe lists no payment';
    case 'show payments':
      return 'Stripe lists the payments again';
    case 'return money':
      return `the newest payment${step.before ? ' but one' : ''} goes back by ${step.by} made elsewhere`;
    case 'decide':
      return `what went back last is decided: ${step.as}`;
    case 'change the amount':
      return `somebody changes the amount of the intent by ${step.by} cents`;
    case 'Stripe events':
      return `Stripe's events are ${step.are} from now on`;
    case 'reconcile':
      return 'a reconciliation looks at everything';
    case 'synchronise':
      return `${step.times} synchronisation${step.times > 1 ? 's at once' : ''} of the organization`;
    case 'prune keys':
      return 'Stripe forgets its idempotency keys';
    case 'fault': {
      const which = step.skip ? `after ${step.skip} that passes, ` : '';
      const repeated = step.times > 1 ? `, ${step.times} times` : '';
      const what = step.what === 'delay' ? `a delay of ${step.ms} ms` : step.what;
      return `armed: "${step.call}" meets, ${which}${what} ${step.when} its effect${repeated}${step.kills ? ', and the worker is killed in it' : ''}`;
    }
    case 'mishap': {
      const where =
        step.point.startsWith('first') || step.point.startsWith('second') ? `right after its ${step.point}` : `${step.point} its work`;
      const which = step.skip ? `, after ${step.skip} that passes` : '';
      return `armed: ${step.activity} ${step.ending === 'dies' ? 'takes the worker with it' : 'fails'} ${where}${which}`;
    }
    case 'disturb':
      return `${step.what}, ${step.afterMs} ms from now`;
    case 'kill the API':
      return `the API is killed ${step.ms} ms after alerts were sent to it`;
  }
}
