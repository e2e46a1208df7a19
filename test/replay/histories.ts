/**
 * The recorded histories: files of one event a line, without names of the machine and the process that
 * recorded them.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';

type History = Parameters<typeof historyToJSON>[0];

const FOLDER = new URL('./histories/', import.meta.url);
const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Who recorded makes no difference to a replay. */
const RECORDER = 'recorder';

/** The branches that have a history, by name. */
export function recordedBranches(): string[] {
  return readdirSync(FOLDER)
    .map((name) => name.replace(/\.json$/, ''))
    .sort();
}

/** A history as Temporal exports it in JSON. */
export function readHistory(branch: string): { events: unknown[] } {
  return JSON.parse(readFileSync(new URL(`${branch}.json`, FOLDER), 'utf8'));
}

export function writeHistory(branch: string, history: History): void {
  const { events } = scrub(JSON.parse(historyToJSON(history))) as { events: unknown[] };
  const lines = events.map((event) => JSON.stringify(event)).join(',\n');
  writeFileSync(new URL(`${branch}.json`, FOLDER), `{"events":[\n${lines}\n]}\n`);
}

function scrub(value: unknown): unknown {
  if (typeof value === 'string') return value.replaceAll(`file://${ROOT}`, '').replaceAll(ROOT, '');
  if (Array.isArray(value)) return value.map(scrub);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, child]) => {
      if (key === 'identity') return [key, RECORDER];
      // The queue of one worker process is named after it.
      if (key === 'taskQueue' && child?.kind === 'TASK_QUEUE_KIND_STICKY') return [key, { ...child, name: RECORDER }];
      return [key, scrub(child)];
    }),
  );
}
