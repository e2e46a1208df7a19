/**
 * Keeps a stand-in's state on disk, so that a second start of the embedded default finds its customers and
 * teams again.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';

/** Writes are gathered for this long, so that a busy stand-in does not rewrite its file on every call. */
const WRITE_DELAY_MS = 200;

export class StateFile<T> {
  private timer: NodeJS.Timeout | undefined;
  private readonly path: string | undefined;
  private readonly snapshot: () => T;

  /** @param path absent keeps nothing. */
  constructor(path: string | undefined, snapshot: () => T) {
    this.path = path;
    this.snapshot = snapshot;
  }

  /** The state last written, or undefined for a first start. Throws on a file that is not JSON, naming it. */
  static read<T>(path: string | undefined): T | undefined {
    if (!path) return undefined;
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
    try {
      return JSON.parse(text) as T;
    } catch {
      throw new Error(`${path} is not JSON: remove it to start over`);
    }
  }

  /** Call it after every change. */
  changed(): void {
    if (!this.path || this.timer) return;
    this.timer = setTimeout(() => this.write(), WRITE_DELAY_MS);
  }

  /** Writes outstanding changes. Call it before the process ends. */
  write(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (!this.path) return;
    writeFileSync(`${this.path}.new`, JSON.stringify(this.snapshot()));
    renameSync(`${this.path}.new`, this.path);
  }
}
