/** What the probes have found: one reading for everybody who asks within some seconds. */
import { withDeadline } from '../deadline.ts';
import type { Probe } from './dependencies.ts';

/** `since`: when it was first found failing after it was last found working; nobody may have asked before. */
export type Reading = { status: 'ok'; latency_ms: number } | { status: 'failing'; reason: string; since: string };

/** A probe that takes longer counts as failed. */
const PROBE_DEADLINE_MS = 3_000;
/** Readings are kept this long, so that frequent probes do not use up Stripe's rate limit. */
const KEEP_READING_MS = 5_000;

const kept = new WeakMap<Probe, { at: number; reading: Promise<Reading> }>();

/** The reading of a probe, at most KEEP_READING_MS old. Never throws: why a probe fails is a reading. */
export function readingOf(probe: Probe): Promise<Reading> {
  const last = kept.get(probe);
  if (last && Date.now() - last.at < KEEP_READING_MS) return last.reading;
  const reading = read(probe, last?.reading);
  kept.set(probe, { at: Date.now(), reading });
  return reading;
}

async function read(probe: Probe, last: Promise<Reading> | undefined): Promise<Reading> {
  try {
    return { status: 'ok', latency_ms: Math.round(await withDeadline(probe(), PROBE_DEADLINE_MS)) };
  } catch (error) {
    const before = await last;
    const since = before?.status === 'failing' ? before.since : new Date().toISOString();
    return { status: 'failing', reason: (error as Error).message.split('\n')[0] ?? 'unknown', since };
  }
}
