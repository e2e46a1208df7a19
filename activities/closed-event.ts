import type { ClosedEvent } from '../src/database/webhook-events.ts';
import { type EventOutcome, isRefusal } from '../src/domain/event-outcome.ts';
import type { ActivityDependencies } from './dependencies.ts';

/** Logs and counts an event that was closed just now. Undefined: it was closed before, and counted then. */
export function countClosed(
  { log, metrics }: Pick<ActivityDependencies, 'log' | 'metrics'>,
  { eventId, outcome }: { eventId: string; outcome: EventOutcome },
  closed: ClosedEvent | undefined,
): void {
  if (!closed) return;
  const { organizationId, source, seconds } = closed;
  log.info({ event_id: eventId, organization_id: organizationId, outcome, source, seconds }, 'an event is closed');
  const ending = isRefusal(outcome) ? { outcome: 'refused', reason: outcome } : { outcome, reason: '' };
  metrics.count('bill_recharges_total', { ...ending, source });
  if (outcome === 'succeeded') metrics.observe('bill_alert_to_quota_seconds', { source }, seconds);
}
