/** Time that has passed, in words. */

const UNITS = [
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
] as const;

/** `12 s`, `3 minutes`, `1 day`: the largest unit that fits. */
export function duration(ms: number): string {
  for (const [unit, size] of UNITS) {
    const count = Math.floor(ms / size);
    if (count >= 1) return `${count} ${unit}${count === 1 ? '' : 's'}`;
  }
  return `${Math.max(0, Math.round(ms / 1000))} s`;
}

/** `3 minutes ago`. */
export function ago(at: Date, now = new Date()): string {
  return `${duration(now.getTime() - at.getTime())} ago`;
}
