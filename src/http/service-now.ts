/** How the service itself stands now, from the database, Temporal and the probes of `/ready`. */
import type { EntityManager } from '../database/database.ts';
import { serviceFacts } from '../database/status.ts';
import { withDeadline } from '../deadline.ts';
import { type Dependency, type ServiceLine, seenSince, serviceHoldLine, serviceLines, stopOf } from '../domain/service-status.ts';
import type { Obstacles } from '../domain/status.ts';
import type { Hindrance } from '../domain/story.ts';
import { adviceOnSilence } from '../domain/stripe-address.ts';
import type { EventRun } from '../workflow-starter.ts';
import type { HttpDependencies, Probe } from './dependencies.ts';
import { readingOf } from './readings.ts';

/** What it takes to say how the service stands. */
export type ServiceNeeds = 'probes' | 'temporalFacts' | 'stripeApiBase';

const LITELLM_ADVICE = 'see that it is up, and that KMS_BASE_URL is where it is';

export type ServiceNow = Obstacles & { lines: ServiceLine[] };

export async function serviceNow(
  { probes, temporalFacts, stripeApiBase }: Pick<HttpDependencies, ServiceNeeds>,
  em: EntityManager,
  now: Date,
): Promise<ServiceNow> {
  // A key that is refused fails it too.
  const adviceOnStripe = `${adviceOnSilence(stripeApiBase)}, and that STRIPE_SECRET_KEY is right`;
  const [asked, reading, ...dependencies] = await Promise.all([
    temporalFacts(),
    // Read while all is well too: only who has looked before knows since when it is not.
    readingOf(probes.temporal),
    dependency({ name: 'LiteLLM', advice: LITELLM_ADVICE, probe: probes.kms }, now),
    dependency({ name: 'Stripe', advice: adviceOnStripe, probe: probes.stripe }, now),
  ]);
  const temporal = 'failure' in asked && reading.status === 'failing' ? { ...asked, since: new Date(reading.since) } : asked;
  const facts = { ...(await serviceFacts(em)), temporal, dependencies };
  const [hold] = facts.holds.map(serviceHoldLine);
  return { lines: serviceLines(facts, now), stop: stopOf(facts, now), hold: hold ? `the service ${hold.seen}` : null };
}

/** Temporal's answer to one question takes milliseconds. */
const TROUBLE_DEADLINE_MS = 3_000;

/** What keeps the run of an event from going on, as far as Temporal says it. */
export async function hindranceOf(
  { workflows, ...service }: Pick<HttpDependencies, 'workflows' | ServiceNeeds>,
  { em, run, now }: { em: EntityManager; run: EventRun; now: Date },
): Promise<Hindrance> {
  const [trouble, { stop }] = await Promise.all([
    withDeadline(workflows.troubleOf(run), TROUBLE_DEADLINE_MS).catch(() => undefined),
    serviceNow(service, em, now),
  ]);
  return { trouble, stop };
}

async function dependency({ probe, ...named }: Omit<Dependency, 'failure'> & { probe: Probe }, now: Date): Promise<Dependency> {
  const reading = await readingOf(probe);
  if (reading.status === 'ok') return { ...named, failure: null };
  return { ...named, failure: seenSince(reading.reason, new Date(reading.since), now) };
}
