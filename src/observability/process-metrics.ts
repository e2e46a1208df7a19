/** What a process does itself: its calls to Stripe and LiteLLM, its gates and pools, and the version that it is. */
import type { CallWatcher, GateLoad, Lane } from '../gate.ts';
import type { Metrics } from './metrics.ts';

export type Dependency = 'stripe' | 'litellm';
type PoolLoad = { idle: number; used: number; waiting: number };

/** Counts the calls of a client. */
export function callWatcher(metrics: Metrics, dependency: Dependency): CallWatcher {
  return ({ route, outcome, seconds }) => metrics.observe('bill_dependency_call_duration_seconds', { dependency, route, outcome }, seconds);
}

/** Something with a gate, such as a client. */
type Gated = { dependency: Dependency; lane: Lane; client: { load: GateLoad } };

export function showProcess(
  metrics: Metrics,
  { version, gates, pools }: { version: string; gates: readonly Gated[]; pools: Readonly<Record<string, { load: PoolLoad }>> },
): void {
  metrics.set('bill_build_info', { version, node: process.version }, 1);
  metrics.beforePage('gates', () => {
    for (const { dependency, lane, client } of gates) {
      const { underWay, waiting, refused } = client.load;
      metrics.set('bill_gate_calls', { dependency, lane, state: 'under_way' }, underWay);
      metrics.set('bill_gate_calls', { dependency, lane, state: 'waiting' }, waiting);
      metrics.showTotal('bill_gate_refused_total', { dependency, lane }, refused);
    }
  });
  metrics.beforePage('pools', () => {
    for (const [pool, { load }] of Object.entries(pools))
      for (const [state, count] of Object.entries(load)) metrics.set('bill_database_pool_connections', { pool, state }, count);
  });
}

/** Whether PostgreSQL answers, in a process that reads no figures from it. */
export function showDatabase(metrics: Metrics, ping: () => Promise<number>): void {
  metrics.beforePage('the database', async () => {
    metrics.set('bill_database_up', {}, 0);
    await ping();
    metrics.set('bill_database_up', {}, 1);
  });
}
