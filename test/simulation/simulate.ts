/** Many runs side by side in one environment, each judged when it has settled. */
import type { Environment } from './environment.ts';
import { type Facts, gather } from './facts.ts';
import { judge, unpreventablyLost } from './oracles.ts';
import { Run } from './run.ts';
import { drawSchedule, type Roughness, type Schedule } from './schedule.ts';

/**
 * A run waits up to two and a half minutes for spend that an alert speaks of, and as long again does not
 * happen: retries back off for seconds, and a worker that died is replaced after some. What is open after
 * this will stay open.
 */
const SETTLE_MS = 240_000;

/** How often a schedule that is repeated is played at once. */
const COPIES = 8;

export type Verdict = { run: number; played: Run; facts: Facts | undefined; violations: string[] };

export type Plan = {
  seed: number;
  runs: number;
  /** How many play the plan, and which of them, from 0, this one is: it plays every `workers`th run. */
  workers: number;
  worker: number;
  /** Runs under way at a time. */
  sideBySide: number;
  roughness: Roughness;
};

/** Runs that are under way, by organization, for the mishaps that they have coming. */
export class Simulation {
  private readonly environment: Environment;
  private readonly underWay = new Map<string, Run>();
  private readonly organizationOfEvent = new Map<string, string>();
  private serial = 0;
  private stopped = false;

  constructor(environment: Environment) {
    this.environment = environment;
    environment.decideMishap = async (question) => {
      const { eventId } = question;
      const known = this.organizationOfEvent.get(eventId);
      const organizationId =
        known ??
        (await environment.sql.query('select organization_id from webhook_event where id = $1', [eventId])).rows[0]?.organization_id;
      this.organizationOfEvent.set(eventId, organizationId);
      return this.underWay.get(organizationId)?.mishapFor(question) ?? null;
    };
  }

  /**
   * Plays its share of the plan until it is done, is stopped or a run is found wanting; those under way are
   * still judged.
   */
  async runAll({ seed, runs, workers, worker, sideBySide, roughness }: Plan, judged: (verdict: Verdict) => void): Promise<void> {
    let next = worker;
    const lane = async () => {
      while (next < runs && !this.stopped) {
        const run = next;
        next += workers;
        const verdict = { run, ...(await this.runOne(`s${seed}-r${run}`, drawSchedule(seed, run, roughness))) };
        if (verdict.violations.length > 0) this.stop();
        judged(verdict);
      }
    };
    await Promise.all(Array.from({ length: sideBySide }, lane));
  }

  /** No run of the plan begins any more. */
  stop(): void {
    this.stopped = true;
  }

  /**
   * Plays one schedule several times side by side, for timing is real and a schedule that can fail need not.
   * What befalls everybody is left to the first copy.
   */
  async playCopies(title: string, schedule: Schedule, settleMs = SETTLE_MS): Promise<Omit<Verdict, 'run'>[]> {
    const kills = schedule.steps.some(
      (step) => (step.kind === 'mishap' && step.ending === 'dies') || (step.kind === 'fault' && step.kills),
    );
    const quiet = { ...schedule, steps: schedule.steps.filter(({ kind }) => kind !== 'disturb' && kind !== 'kill the API') };
    const copies = Array.from({ length: kills ? 1 : COPIES }, (_, copy) => (copy === 0 ? schedule : quiet));
    return Promise.all(copies.map((copy) => this.runOne(title, copy, settleMs)));
  }

  /** Plays one schedule to its end and judges it. */
  async runOne(title: string, schedule: Schedule, settleMs = SETTLE_MS): Promise<Omit<Verdict, 'run'>> {
    // A closing letter: no name is the beginning of another, for faults are aimed by name.
    const run = new Run(this.environment, `${title}-n${++this.serial}z`, schedule);
    this.underWay.set(run.organizationId, run);
    const violations: string[] = [];
    try {
      await run.prepare();
      await run.play();
    } catch (error) {
      violations.push(`the schedule could not be played: ${(error as Error).message}`);
    }
    await run.settle(settleMs).catch((error: Error) => violations.push(error.message));
    const facts = await this.gatherPatiently(run, violations);
    if (facts) {
      violations.push(...judge(facts, run));
      for (const _ of unpreventablyLost(facts, run)) run.tally.set('edits lost', (run.tally.get('edits lost') ?? 0) + 1);
    }
    this.underWay.delete(run.organizationId);
    // What is judged is not kept: the stand-in tells its whole state each time.
    if (violations.length === 0) await this.environment.litellm.post('/team/delete', { team_ids: [run.teamId] });
    return { played: run, facts, violations };
  }

  /** PostgreSQL may be restarting, for another run. */
  private async gatherPatiently(run: Run, violations: string[]): Promise<Facts | undefined> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await gather(this.environment, run);
      } catch (error) {
        if (attempt === 20) {
          violations.push(`the end could not be judged: ${(error as Error).message}`);
          return undefined;
        }
        await new Promise((resolve) => setTimeout(resolve, 1_000));
      }
    }
  }
}
