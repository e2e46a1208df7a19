/** Differences that a person has to settle: each is told once, however often it is found. */
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
