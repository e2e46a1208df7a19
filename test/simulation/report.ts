/** What the simulation prints: how it goes, what it found, and how to see that again. */
import type { Counts, Environment } from './environment.ts';
import { type Judged, stripeRequests } from './facts.ts';
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
  /** The reason of each hold. */
  holds: string[];
};

export function summaryOf({ run, played, judged, violations }: Verdict): Summary {
  const all = judged.map(({ facts }) => facts);
  return {
    run,
    violations,
    tally: played.tally,
    outcomes: all.flatMap(({ events }) => events.map(({ outcome }) => outcome)),
    recharges: all.flatMap(({ recharges }) => recharges).length,
    charges: all.flatMap(({ charges }) => charges).length,
    holds: [...new Map(all.flatMap(({ holds }) => holds.map(({ id, reason }) => [id, reason] as const))).values()],
  };
}

export class Totals {
  /** How many were added. */
  runs = 0;
  private violations = 0;
  private events = 0;
  private recharges = 0;
  private charges = 0;
  private readonly tally = new Map<string, number>();
  private readonly outcomes = new Map<string, number>();
  private readonly holds = new Map<string, number>();

  add({ violations, tally, outcomes, recharges, charges, holds }: Summary): void {
    this.runs++;
    this.violations += violations.length > 0 ? 1 : 0;
    for (const [what, times] of tally) increase(this.tally, what, times);
    for (const reason of holds) increase(this.holds, reason, 1);
    for (const outcome of outcomes) increase(this.outcomes, outcome ?? 'open', 1);
    this.events += outcomes.length;
    this.recharges += recharges;
    this.charges += charges;
  }

  /** Faults that have struck, of every kind. */
  private get faults(): number {
    return [...this.tally].reduce((sum, [what, times]) => (NOT_FAULTS.has(what) ? sum : sum + times), 0);
  }

  /**
   * How far it is, in a line.
   *
   * @param planned how many there are in all.
   * @param now of what is played now, without what a record has: `played` runs in `seconds`.
   */
  progress({ kills, restarts }: Counts, planned: number, now: { played: number; seconds: number }): string {
    const rate = now.played / now.seconds;
    const left = rate > 0 ? `${inWords((planned - this.runs) / rate)} left` : 'nothing finished yet';
    const faults = `${this.faults} faults, ${kills} kills, ${restarts} restarts, ${this.violations} violations`;
    return `${this.runs} of ${planned} runs, ${rate.toFixed(1)} a second, ${left}; ${faults}`;
  }

  describe(
    { kills, restarts, sweeps, reconciliations, synchronisations, crashes }: Counts & { crashes: number },
    seconds: number,
    command: string,
  ): string {
    const faults = [...this.tally].filter(([what]) => !NOT_FAULTS.has(what));
    const count = (what: string) => this.tally.get(what) ?? 0;
    return [
      `runs          ${this.runs}, ${(seconds / this.runs).toFixed(2)} s each, ${seconds.toFixed(0)} s in all`,
      `alerts        ${this.events} events, ${count('duplicates')} duplicates, ${count('replays')} replays, ${count('cancellations')} cancellations`,
      `recharges     ${this.recharges}, ${this.charges} charges`,
      `faults        ${this.faults}: ${listed(faults)}`,
      `kills         ${kills} of worker and API, restarts ${restarts} of PostgreSQL and Temporal`,
      `holds         ${listed([...this.holds])}; time leapt ${count('leaps of time')} times`,
      `looks         ${sweeps} sweeps, ${reconciliations} reconciliations, ${synchronisations} synchronisations`,
      `elsewhere     ${count('restores')} restores, ${count('returns of money')} refunds and disputes made elsewhere`,
      `outcomes      ${listed([...this.outcomes])}`,
      `lost edits    ${count('edits lost')} of somebody else's, between our read and our write of the budget, which LiteLLM cannot prevent`,
      `violations    ${this.violations}${crashes > 0 ? `, and ${crashes} processes that ended by themselves` : ''}`,
      `again with    ${command}`,
    ].join('\n');
  }
}

const NOT_FAULTS = new Set(['duplicates', 'replays', 'cancellations', 'edits lost', 'leaps of time', 'restores', 'returns of money']);

/**
 * Everything about a run that went wrong: what is wrong, what was done, what each recharge went through, who
 * was asked what.
 */
export async function describeViolation(
  environment: Environment,
  { played, judged, violations }: Omit<Verdict, 'run'>,
  command: string,
): Promise<string> {
  const since = (at: number | string) => `${((new Date(at).getTime() - played.startedAt) / 1000).toFixed(2).padStart(7)} s`;
  const disturbed = environment.disturbances.filter(({ at }) => at >= played.startedAt);
  const happened = [...played.log, ...disturbed].sort((a, b) => a.at - b.at);
  const { start, steps } = played.schedule;
  const lines = [
    ...played.all.map(({ organizationId, customerId }) => `organization ${organizationId}, customer ${customerId}`),
    'wrong:',
    ...violations.map((violation) => `  ✗ ${violation}`),
    `schedule: a budget of ${start.budget}, ${start.spend} spent; minimum ${start.minimum}, target ${start.target}, ${start.maxDailyRecharges} recharges a day; at most ${start.maxCharge} at once, ${start.maxDailyAmount} a day, ${start.maxMonthlyAmount} a month`,
    ...steps.map((step, position) => `  ${String(position + 1).padStart(2)}. ${describe(step)}`),
    'what happened:',
    ...happened.map(({ at, what }) => `  ${since(at)}  ${what}`),
  ];
  for (const each of judged) lines.push(...(await describeOrganization(environment, each, since)));
  return [...lines, `again with: ${command}`].join('\n');
}

async function describeOrganization(
  environment: Environment,
  { run, facts }: Judged,
  since: (at: number | string) => string,
): Promise<string[]> {
  const { recharges, reversals, events, holds, team, kmsRequests } = facts;
  const lines = [`── ${run.organizationId}`];
  for (const { id, status, amount, quotaBefore, quotaAfter, intentId, failure, timeline } of recharges) {
    lines.push(
      `recharge ${id}: ${status}, ${amount} cents by ${intentId}, quota ${quotaBefore} → ${quotaAfter}${failure ? `; ${failure}` : ''}`,
    );
    for (const { at, status: reached, ...seen } of timeline) lines.push(`  ${since(at)}  ${reached} ${JSON.stringify(seen)}`);
  }
  for (const { id, rechargeId, status, takenBefore, takenAfter, givenBefore, givenAfter, failure, createdAt } of reversals) {
    const steps = `taken ${takenBefore} → ${takenAfter}, given back ${givenBefore} → ${givenAfter}`;
    lines.push(`${since(createdAt.getTime())}  ${id} of ${rechargeId}: ${status}, ${steps}${failure ? `; ${failure}` : ''}`);
  }
  lines.push('events:');
  for (const { id, eventType, outcome, duplicateOf, receivedAt } of events) {
    lines.push(`  ${since(receivedAt.getTime())}  ${id} ${eventType}: ${outcome ?? 'open'}${duplicateOf ? ` of ${duplicateOf}` : ''}`);
  }
  lines.push("holds, by the run's time:");
  const leapt = (at: Date | null) => (at ? since(run.clock.ofStored(at)).trim() : '—');
  for (const { id, scope, reason, since: from, until, releasedAt, releasedBy } of holds) {
    lines.push(
      `  ${leapt(from)}  ${id} ${scope} ${reason}, until ${leapt(until)}, released ${leapt(releasedAt)} by ${releasedBy ?? 'nobody'}`,
    );
  }
  lines.push('budgets written:', ...(team?.budgetWrites ?? []).map(({ before, max_budget }) => `  ${before} → ${max_budget}`));
  lines.push('requests:');
  for (const { server, method, path, status, detail } of [...(await stripeRequests(environment, run, facts)), ...kmsRequests]) {
    lines.push(`  ${server} ${method} ${path} ${status} ${detail}`);
  }
  return lines;
}

function inWords(seconds: number): string {
  const minutes = Math.ceil(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
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
