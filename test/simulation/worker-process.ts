/** A worker of the simulation, as the process that started it sees it. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Counts } from './environment.ts';
import type { Order, Report, ReportOf, Share } from './messages.ts';
import type { Plan } from './plan.ts';
import type { Summary } from './report.ts';

const PROGRAM = fileURLToPath(new URL('./worker.ts', import.meta.url));

export class WorkerProcess {
  counts: Counts = { kills: 0, restarts: 0, sweeps: 0, reconciliations: 0, synchronisations: 0 };
  /** Resolves when there is no more for it to play. */
  readonly played: Promise<unknown>;
  private readonly child: ChildProcess;
  private readonly gone: Promise<never>;

  /** Starts it; it plays at once what the plan hands out. @param judged is told of each run. */
  constructor(share: Share, plan: Plan, judged: (summary: Summary) => void) {
    // Advanced: what is undefined and a Map arrive as such.
    this.child = fork(PROGRAM, [JSON.stringify(share)], { serialization: 'advanced' });
    this.gone = new Promise((_, reject) => {
      this.child.once('exit', (code, signal) => reject(new Error(`worker ${share.index} of the simulation ended with ${signal ?? code}`)));
    });
    this.gone.catch(() => {}); // it may end when all is said
    this.child.on('message', (report: Report) => {
      if (report.kind === 'wants') this.order({ kind: 'play', wish: report.wish, run: plan.take(report.room, share.index) });
      if (report.kind !== 'judged') return;
      this.counts = report.counts;
      judged(report.summary);
    });
    this.played = this.next('played');
  }

  /** No run begins any more; those under way are still judged. */
  stop(): void {
    this.order({ kind: 'stop' });
  }

  /** Everything about a run that went wrong there. */
  async describe(run: number): Promise<string> {
    this.order({ kind: 'describe', run });
    return (await this.next('described')).text;
  }

  /** The shortest schedule that fails like a run; undefined when it does not fail again. */
  async shrink(run: number): Promise<string | undefined> {
    this.order({ kind: 'shrink', run });
    return (await this.next('shrunk')).text;
  }

  /** Ends it. Returns what its processes said when they ended by themselves. */
  async close(): Promise<string[]> {
    this.order({ kind: 'close' });
    const { counts, crashes } = await this.next('closed');
    this.counts = counts;
    return crashes;
  }

  private order(order: Order): void {
    this.child.send(order);
  }

  /** The next report of a kind. @throws when the worker ends before. */
  private next<K extends Report['kind']>(kind: K): Promise<ReportOf<K>> {
    const next = new Promise<ReportOf<K>>((resolve) => {
      const look = (report: Report) => {
        if (report.kind !== kind) return;
        this.child.off('message', look);
        resolve(report as ReportOf<K>);
      };
      this.child.on('message', look);
    });
    return Promise.race([next, this.gone]);
  }
}
