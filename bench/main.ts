/**
 * `npm run bench`: the service beside the least that could do the same durable work, in turns on the same machine.
 * Prints a table of medians. What each figure means and what limits it is in docs/performance.md.
 *
 * -- --only ack,storm        some of the measurements: ack, storm, recharge, latency, memory, sustained,
 *                            killed, limit, observed
 * -- --rounds 5              counted rounds of each
 * -- --long                  ten times the alerts, recharges and time of load
 * -- --profile FOLDER        writes profiles of the service's processor time, for Chrome's developer tools
 * -- --json FILE             the figures for a program
 */
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { measureAcknowledgements, measureStorm, type Sizes } from './acknowledge.ts';
import { type BurstSizes, measureKilled, measureLimit, measureSustained } from './bursts.ts';
import { type MemorySizes, measureMemory } from './memory.ts';
import { measureObserved, type ObservedSizes } from './observed.ts';
import { measureLatency, measureRecharges, type RechargeSizes } from './recharge.ts';
import { type Row, tableOf } from './rounds.ts';

const MEASUREMENTS = {
  ack: measureAcknowledgements,
  storm: measureStorm,
  recharge: measureRecharges,
  latency: measureLatency,
  memory: measureMemory,
  sustained: measureSustained,
  killed: measureKilled,
  limit: measureLimit,
  observed: measureObserved,
} as const;

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: Object.keys(MEASUREMENTS).join(',') },
    rounds: { type: 'string', default: '5' },
    long: { type: 'boolean', default: false },
    profile: { type: 'string' },
    json: { type: 'string' },
  },
});
const names = values.only.split(',') as (keyof typeof MEASUREMENTS)[];
const unknown = names.filter((name) => !Object.hasOwn(MEASUREMENTS, name));
if (unknown.length > 0) throw new Error(`--only takes ${Object.keys(MEASUREMENTS).join(', ')}, not ${unknown.join(', ')}`);

const scale = values.long ? 10 : 1;
const sizes: Sizes & RechargeSizes & MemorySizes & BurstSizes & ObservedSizes = {
  rounds: Number(values.rounds),
  alerts: 5_000 * scale,
  storm: 10_000,
  tracked: 10_000 * scale,
  latencySeconds: 5 * scale,
  recharges: 100 * scale,
  oneByOne: 20 * scale,
  loadSeconds: 60 * scale,
  sustainedSeconds: 10 * scale,
  killed: 100 * scale,
  crossings: 60 * scale,
  profile: values.profile,
};
const started = performance.now();
const say = (line: string) => console.error(`${((performance.now() - started) / 1000).toFixed(0).padStart(4)} s  ${line}`);

const rows: Row[] = [];
for (const name of names) rows.push(...(await MEASUREMENTS[name](sizes, say)));

const machine = `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, Node ${process.version}`;
console.log(`${new Date().toISOString().slice(0, 10)}, ${machine}\n\n${tableOf(rows)}`);
if (values.json) writeFileSync(values.json, `${JSON.stringify({ at: new Date().toISOString(), machine, rows }, null, 2)}\n`);
