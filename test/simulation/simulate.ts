/**
 * Many runs side by side in one environment, each judged when it has settled. First, one after the other,
 * those that do something to the whole service.
 */
import { judgeTogether } from './bounds.ts';
import { drawSchedule, type Roughness } from './draw.ts';
import type { Environment } from './environment.ts';
import { gather, type Judged } from './facts.ts';
import { judge, unpreventablyLost } from './oracles.ts';
import type { Room } from './plan.ts';
import { Run } from './run.ts';
import { playsAlone, type Schedule } from './schedule.ts';

/**
 * A run waits up to two and a half minutes for spend that an alert speaks of, and as long again does not
 * happen: retries back off for seconds, and a worker that died is replaced after some. What is open after
 * this will stay open.
 */
const SETTLE_MS = 240_000;

/** How often a schedule that is repeated is played at once. */
const COPIES = 8;

/** `judged`: each organization of the run, or none where the end could not be seen. */
export type Verdict = { run: number; played: Run; judged: Judged[]; violations: string[] };

export type Play = {
  seed: number;
  roughness: Roughness;
  /** Runs under way at a time. */
  sideBySide: number;
  /** Hands out the next run, or none when there is none left. */
  next: (room: Room) => Promise<number | undefined>;
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
   * Plays what it is handed until there is no more, it is stopped or a run is found wanting; those under way
   * are still judged.
   */
  async runAll({ seed, roughness, sideBySide, next }: Play, judged: (verdict: Verdict) => void): Promise<void> {
    const lane = async (room: Room) => {
      for (let run = await next(room); run !== undefined && !this.stopped; run = await next(room)) {
        const verdict = { run, ...(await this.runOne(`s${seed}-r${run}`, drawSchedule(seed, run, roughness))) };
        if (verdict.violations.length > 0) this.stop();
        judged(verdict);
      }
    };
    await lane('alone');
    await Promise.all(Array.from({ length: sideBySide }, () => lane('together')));
  }

  /** No run begins any more. */
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
    const copies = Array.from({ length: kills || playsAlone(schedule) ? 1 : COPIES }, (_, copy) => (copy === 0 ? schedule : quiet));
    return Promise.all(copies.map((copy) => this.runOne(title, copy, settleMs)));
  }

  /** Plays one schedule to its end and judges it. */
  async runOne(title: string, schedule: Schedule, settleMs = SETTLE_MS): Promise<Omit<Verdict, 'run'>> {
    // A closing letter: no name is the beginning of another, for faults are aimed by name.
    const run = new Run(this.environment, `${title}-n${++this.serial}z`, schedule);
    for (const each of run.all) this.underWay.set(each.organizationId, each);
    const violations: string[] = [];
    try {
      await run.prepare();
      await run.play();
    } catch (error) {
      violations.push(`the schedule could not be played: ${(error as Error).message}`);
    }
    await run.settle(settleMs).catch((error: Error) => violations.push(error.message));
    const judged = await this.gatherPatiently(run, violations);
    for (const { run: each, facts } of judged) {
      const whose = each === run ? '' : `organization ${run.all.indexOf(each) + 1}: `;
      violations.push(...judge(facts, each).map((violation) => `${whose}${violation}`));
      for (const _ of unpreventablyLost(facts, each)) run.tally.set('edits lost', (run.tally.get('edits lost') ?? 0) + 1);
    }
    violations.push(...judgeTogether(judged));
    for (const { organizationId } of run.all) this.underWay.delete(organizationId);
    if (playsAlone(schedule)) await this.environment.releaseService();
    // What is judged is not kept: the stand-in tells its whole state each time.
    if (violations.length === 0) await this.environment.litellm.post('/team/delete', { team_ids: run.all.map(({ teamId }) => teamId) });
    return { played: run, judged, violations };
  }

  /** PostgreSQL may be restarting, for another run. */
  private async gatherPatiently(run: Run, violations: string[]): Promise<Judged[]> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await Promise.all(run.all.map(async (each) => ({ run: each, facts: await gather(this.environment, each) })));
      } catch (error) {
        if (attempt === 20) {
          violations.push(`the end could not be judged: ${(error as Error).message}`);
          return [];
        }
        await new Promise((resolve) => setTimeout(resolve, 1_000));
      }
    }
  }
}
