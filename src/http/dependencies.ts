import type { Database } from '../database/database.ts';
import type { IncomingEvent, Receipt } from '../database/webhook-events.ts';
import type { TemporalFacts } from '../domain/service-status.ts';
import type { AlertSecrets } from '../inbox/signatures.ts';
import type { KmsClient } from '../kms/client.ts';
import type { Logger } from '../observability/log.ts';
import type { Metrics } from '../observability/metrics.ts';
import type { PaymentsClient } from '../payments/client.ts';
import type { WorkflowLinks } from '../workflow-links.ts';
import type { WorkflowStarter } from '../workflow-starter.ts';

/** Round trip to a dependency in milliseconds; throws when it cannot be used. */
export type Probe = () => Promise<number>;
export type Probes = Record<'database' | 'temporal' | 'service' | 'kms' | 'stripe', Probe>;

/** What the routes work with. Each route factory names the parts that it uses. */
export type HttpDependencies = {
  database: Database;
  kms: KmsClient;
  payments: PaymentsClient;
  workflows: WorkflowStarter;
  links: WorkflowLinks;
  probes: Probes;
  /** Where Stripe is, or a stand-in for it. */
  stripeApiBase: string;
  /** Whether the process ends: from SIGTERM on it is not ready. */
  isStopping: () => boolean;
  metrics: Metrics;
  /** Never throws: why Temporal cannot be asked is one of its results. */
  temporalFacts: () => Promise<TemporalFacts>;
  alertSecrets: AlertSecrets;
  stripeSigningSecrets: readonly string[];
  adminApiKey: string;
  /** Stores an alert; returns when it is durable. `bytes`: of its body. */
  storeAlert: (alert: IncomingEvent, bytes: number) => Promise<Receipt>;
  /** Called when an alert, or one of Stripe's events, has become durable. */
  alertAccepted: () => void;
  stripeEventAccepted: () => void;
  /** Called when an outbound event is to be delivered again. */
  outboundEventResent: () => void;
  /** Whether endpoints of outbound events may have private addresses. */
  allowPrivateEndpoints: boolean;
  log: Logger;
};
