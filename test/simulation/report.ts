/** What the simulation prints: how it goes, what it found, and how to see that again. */
import type { Environment } from './environment.ts';
import { stripeRequests } from './facts.ts';
import type { Counts } from './messages.ts';
import { describe } from './schedule.ts';
import type { Verdict } from './simulate.ts';

/** Of one run what the totals need. */
export type Summary = {
  run: number;
  violations: string[];
  /** How often each kind of fault or mishap struck, and copies sent. */
  tally: Map<string, number>;
  /** That of each event; null while it is open. */
  outcomes: (string | null)[];
  recharges: number;
  charges: number;
};

export function summaryOf({ run, played, facts, violations }: Verdict): Summary {
  return {
    run,
    violations,
    tally: played.tally,
    outcomes: facts?.events.map(({ outcome }) => outcome) ?? [],
    recharges: facts?.recharges.length ?? 0,
    charges: facts?.charges.length ?? 0,
  };
}

export class Totals {
  private runs = 0;
  private violations = 0;
  private events = 0;
  private recharges = 0;
  private charges = 0;
  private readonly tally = new Map<string, number>();
  private readonly outcomes = new Map<string, number>();

  add({ violations, tally, outcomes, recharges, charges }: Summary): void {
    this.runs++;
    this.violations += violations.length > 0 ? 1 : 0;
    for (const [what, times] of tally) increase(this.tally, what, times);
    for (const outcome of outcomes) increase(this.outcomes, outcome ?? 'open', 1);
    this.events += outcomes.length;
    this.recharges += recharges;
    this.charges += charges;
  }

  /** Faults that have struck, of every kind. */
  private get faults(): number {
    return [...this.tally].reduce((sum, [what, times]) => (NOT_FAULTS.has(what) ? sum : sum + times), 0);
  }

  /** How far it is, in a line. */
  progress({ kills, restarts }: Counts, seconds: number): string {
    const rate = (this.runs / seconds).toFixed(1);
    return `${this.runs} runs, ${rate} a second, ${this.faults} faults, ${kills} kills, ${restarts} restarts, ${this.violations} violations`;
  }

  describe({ kills, restarts, crashes }: Counts & { crashes: number }, seconds: number, command: string): string {
    const faults = [...this.tally].filter(([what]) => !NOT_FAULTS.has(what));
    const count = (what: string) => this.tally.get(what) ?? 0;
    return [
      `runs          ${this.runs}, ${(seconds / this.runs).toFixed(2)} s each, ${seconds.toFixed(0)} s in all`,
      `alerts        ${this.events} events, ${count('duplicates')} duplicates, ${count('replays')} replays, ${count('cancellations')} cancellations`,
      `recharges     ${this.recharges}, ${this.charges} charges`,
      `faults        ${this.faults}: ${listed(faults)}`,
      `kills         ${kills} of worker and API, restarts ${restarts} of PostgreSQL and Temporal`,
      `outcomes      ${listed([...this.outcomes])}`,
      `lost edits    ${count('edits lost')} of somebody else's, between our read and our write of the budget, which LiteLLM cannot prevent`,
      `violations    ${this.violations}${crashes > 0 ? `, and ${crashes} processes that ended by themselves` : ''}`,
      `again with    ${command}`,
    ].join('\n');
  }
}

const NOT_FAULTS = new Set(['duplicates', 'replays', 'cancellations', 'edits lost']);

/**
 * Everything about a run that went wrong: what is wrong, what was done, what each recharge went through, who
 * was asked what.
 */
export async function describeViolation(
  environment: Environment,
  { played, facts, violations }: Omit<Verdict, 'run'>,
  command: string,
): Promise<string> {
  const since = (at: number | string) => `${((new Date(at).getTime() - played.startedAt) / 1000).toFixed(2).padStart(7)} s`;
  const disturbed = environment.disturbances.filter(({ at }) => at >= played.startedAt);
  const happened = [...played.log, ...disturbed].sort((a, b) => a.at - b.at);
  const { start, steps } = played.schedule;
  const lines = [
    `organization ${played.organizationId}, customer ${played.customerId}`,
    'wrong:',
    ...violations.map((violation) => `  ✗ ${violation}`),
    `schedule: a budget of ${start.budget}, ${start.spend} spent; minimum ${start.minimum}, target ${start.target}, ${start.maxDailyRecharges} recharges a day`,
    ...steps.map((step, position) => `  ${String(position + 1).padStart(2)}. ${describe(step)}`),
    'what happened:',
    ...happened.map(({ at, what }) => `  ${since(at)}  ${what}`),
  ];
  for (const { id, status, amount, quotaBefore, quotaAfter, intentId, failure, timeline } of facts?.recharges ?? []) {
    lines.push(
      `recharge ${id}: ${status}, ${amount} cents by ${intentId}, quota ${quotaBefore} → ${quotaAfter}${failure ? `; ${failure}` : ''}`,
    );
    for (const { at, status: reached, ...seen } of timeline) lines.push(`  ${since(at)}  ${reached} ${JSON.stringify(seen)}`);
  }
  if (facts) {
    lines.push('events:');
    for (const { id, eventType, outcome, duplicateOf, receivedAt } of facts.events) {
      lines.push(`  ${since(receivedAt.getTime())}  ${id} ${eventType}: ${outcome ?? 'open'}${duplicateOf ? ` of ${duplicateOf}` : ''}`);
    }
    lines.push('budgets written:', ...(facts.team?.budgetWrites ?? []).map(({ before, max_budget }) => `  ${before} → ${max_budget}`));
    lines.push('requests:');
    for (const { server, method, path, status, detail } of [...(await stripeRequests(environment, played, facts)), ...facts.kmsRequests]) {
      lines.push(`  ${server} ${method} ${path} ${status} ${detail}`);
    }
  }
  return [...lines, `again with: ${command}`].join('\n');
}

function increase(map: Map<string, number>, key: string, by: number): void {
  map.set(key, (map.get(key) ?? 0) + by);
}

function listed(counts: [string, number][]): string {
  return counts
    .sort((a, b) => b[1] - a[1])
    .map(([what, times]) => `${times} ${what}`)
    .join(', ');
}
