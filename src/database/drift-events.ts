/** Differences that a person has to settle: each is told once for as long as it stands, however often it is found. */
import { createHash } from 'node:crypto';
import type { Finding } from '../domain/finding.ts';
import { adviceOn, type Drift } from '../domain/sync.ts';
import type { EntityManager } from './database.ts';
import { tell } from './outbound-events.ts';

/** Tells the findings of a reconciliation that are not settled. */
export async function tellFindings(em: EntityManager, findings: readonly Finding[]): Promise<void> {
  for (const finding of findings) if (!finding.settled) await tellFinding(em, finding);
}

export async function tellFinding(em: EntityManager, { kind, subject, organizationId, seen, expected, command }: Finding): Promise<void> {
  // The synchronisation finds the same difference under a name of its own.
  const key = keyOf({ kind: kind === 'budget_differs' ? 'budget_edited' : kind, subject, organizationId, seen });
  await tell(em, { type: 'drift.detected', organizationId, key, data: { kind, subject, seen, expected, action: command } });
}

/** Tells a difference that the synchronisation has found and may not settle. */
export async function tellDrift(em: EntityManager, drift: Drift): Promise<void> {
  const { kind, subject, organizationId, ours, theirs } = drift;
  const seen = kind === 'budget_edited' ? `max_budget ${theirs}` : (theirs ?? 'nothing');
  const data = { kind, subject, seen, expected: ours, action: adviceOn(drift) };
  await tell(em, { type: 'drift.detected', organizationId, key: keyOf({ kind, subject, organizationId, seen }), data });
}

/** A difference that was told and, for all that is known, still stands. */
export type StandingTold = { id: string; organizationId: string; kind: string };

/** Those of these organizations. */
export async function standingOf(em: EntityManager, organizationIds: readonly string[]): Promise<StandingTold[]> {
  return em.execute<StandingTold[]>(
    // As the index has it: see the last migration that makes `outbound_event_standing_drift`.
    `select id, organization_id as "organizationId", split_part(key, '/', 2) as kind from outbound_event
     where type = 'drift.detected' and key like 'drift/%' and organization_id in (select jsonb_array_elements_text(?::jsonb))`,
    [JSON.stringify(organizationIds)],
  );
}

/** Notes that they stand no more: where one is found again, it is told again. */
export async function end(em: EntityManager, told: readonly StandingTold[]): Promise<void> {
  if (told.length === 0) return;
  await em.execute(
    `update outbound_event set key = 'ended/' || id || '/' || key
     where key like 'drift/%' and id in (select jsonb_array_elements_text(?::jsonb))`,
    [JSON.stringify(told.map(({ id }) => id))],
  );
}

/** What was seen may be long, and an index entry may not. */
function keyOf({
  kind,
  subject,
  organizationId,
  seen,
}: {
  kind: string;
  subject: string;
  organizationId: string | null;
  seen: string;
}): string {
  return `drift/${kind}/${createHash('sha256').update([organizationId, subject, seen].join('\n')).digest('hex')}`;
}
