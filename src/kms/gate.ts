/** Limits how many calls run at once; the others wait in the order in which they came. */
export class Gate {
  private free: number;
  private readonly waiting: (() => void)[] = [];

  constructor(size: number) {
    this.free = size;
  }

  /**
   * Runs `work` when it is its turn. @throws the deadline's reason when that comes first; `work` then never
   * runs.
   */
  async through<T>(work: () => Promise<T>, deadline: AbortSignal): Promise<T> {
    await this.turn(deadline);
    try {
      return await work();
    } finally {
      const next = this.waiting.shift();
      if (next) next();
      else this.free++;
    }
  }

  private async turn(deadline: AbortSignal): Promise<void> {
    deadline.throwIfAborted();
    if (this.free > 0) {
      this.free--;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const giveUp = () => {
        this.waiting.splice(this.waiting.indexOf(enter), 1);
        reject(deadline.reason);
      };
      const enter = () => {
        deadline.removeEventListener('abort', giveUp);
        resolve();
      };
      deadline.addEventListener('abort', giveUp, { once: true });
      this.waiting.push(enter);
    });
  }
}
