/**
 * The world on Temporal's test server, where days pass while nothing runs: the service, PostgreSQL and the
 * stand-ins are the real ones.
 */
import { TestWorkflowEnvironment } from '@temporalio/testing';
import type { DestinationStream } from 'pino';
import { freePort } from '../../sandbox/ports.ts';
import { locateTestServer } from '../../setup/temporal-cli.mjs';
import {
  amountMinorKey,
  organizationIdKey,
  rechargeSourceKey,
  rechargeStatusKey,
  teamIdKey,
} from '../../src/temporal/search-attributes.ts';
import { World } from './world.ts';

// temporal.api.enums.v1.IndexedValueType; the test server cannot list what it has, as `bill migrate` would.
const KEYWORD = 2;
const INT = 3;

export type SkippingWorld = {
  world: World;
  temporal: TestWorkflowEnvironment;
  close: () => Promise<void>;
};

/** Time passes as ever until `temporal.sleep`, and there as fast as timers and attempts can be made. */
export async function startSkippingWorld(
  overrides: Record<string, string> = {},
  logDestination?: DestinationStream,
): Promise<SkippingWorld> {
  const path = locateTestServer();
  if (!path) throw new Error('the Temporal test server is not here: npm run test:endurance fetches it');
  const port = await freePort();
  // First the service, which waits for Temporal: its logger has to be installed before the first connection.
  const world = await World.start({ TEMPORAL_ADDRESS: `127.0.0.1:${port}`, ...overrides }, logDestination);
  const temporal = await TestWorkflowEnvironment.createTimeSkipping({
    server: { port, executable: { type: 'existing-path', path } },
  });
  await temporal.connection.operatorService.addSearchAttributes({
    namespace: temporal.namespace ?? 'default',
    searchAttributes: {
      [organizationIdKey.name]: KEYWORD,
      [teamIdKey.name]: KEYWORD,
      [rechargeStatusKey.name]: KEYWORD,
      [rechargeSourceKey.name]: KEYWORD,
      [amountMinorKey.name]: INT,
    },
  });
  return {
    world,
    temporal,
    close: async () => {
      await world.close();
      await temporal.teardown();
    },
  };
}
