/** What activities work with. Each activity names the parts that it uses. */
import type { Database } from '../src/database/database.ts';
import type { KmsClient } from '../src/kms/client.ts';
import type { Logger } from '../src/observability/log.ts';
import type { Metrics } from '../src/observability/metrics.ts';
import type { PaymentsClient } from '../src/payments/client.ts';
import type { WorkflowStarter } from '../src/workflow-starter.ts';

export type ActivityDependencies = {
  database: Database;
  kms: KmsClient;
  payments: PaymentsClient;
  workflows: WorkflowStarter;
  log: Logger;
  metrics: Metrics;
};
