/** What the probes have found: one reading for everybody who asks within some seconds. */
import { withDeadline } from '../deadline.ts';
import type { Probe } from './dependencies.ts';

/**
 * `looked_at`: when this was found. `since`: when it was first found failing, in looks without a longer pause than
 * MAX_UNSEEN_MS: what was in such a pause, or before the first look, nobody has seen.
 */
export type Reading = { looked_at: string } & ({ status: 'ok'; latency_ms: number } | { status: 'failing'; reason: string; since: string });

/** A probe that takes longer counts as failed. */
const PROBE_DEADLINE_MS = 3_000;
/** Readings are kept this long, so that frequent probes do not use up Stripe's rate limit. */
const KEEP_READING_MS = 5_000;

/** Whoever watches asks more often; a failure of an hour ago and one of now may be two. */
const MAX_UNSEEN_MS = 120_000;

const kept = new WeakMap<Probe, { at: number; reading: Promise<Reading> }>();

/** The reading of a probe, at most KEEP_READING_MS old. Never throws: why a probe fails is a reading. */
export function readingOf(probe: Probe): Promise<Reading> {
  const last = kept.get(probe);
  if (last && Date.now() - last.at < KEEP_READING_MS) return last.reading;
  const at = Date.now();
  const isSeen = last && at - last.at <= MAX_UNSEEN_MS;
  const reading = read(probe, at, isSeen ? last.reading : undefined);
  kept.set(probe, { at, reading });
  return reading;
}

async function read(probe: Probe, at: number, last: Promise<Reading> | undefined): Promise<Reading> {
  const looked_at = new Date(at).toISOString();
  try {
    return { status: 'ok', latency_ms: Math.round(await withDeadline(probe(), PROBE_DEADLINE_MS)), looked_at };
  } catch (error) {
    const before = await last;
    const since = before?.status === 'failing' ? before.since : looked_at;
    return { status: 'failing', reason: (error as Error).message.split('\n')[0] ?? 'unknown', since, looked_at };
  }
}
