/** The options of `npm run simulate`, and the command that repeats a run with them. */
import { parseArgs } from 'node:util';
import { drawSchedule, type Roughness } from './draw.ts';
import { DISTURBANCES, type Schedule, type Step } from './schedule.ts';

/** About one run in so many disturbs all. */
const DISTURB_EVERY = 20;
/** sysexits.h EX_USAGE. */
const EX_USAGE = 64;

const HELP = `npm run simulate -- [options]
  --runs N          how many (200)
  --seed S          draws all schedules (1)
  --workers N       plays them in so many processes, each with a service of its own (1)
  --record FILE     adds each finished run to it, and plays only those that it does not have
  --run K           only this run of the seed, in several copies side by side, for timing is real
  --also WHAT@MS,…  with these disturbances so long after its start, which come first in its schedule
  --steps 1,4,7     only these steps of its schedule
  --no-shrink       does not look for the shortest schedule that fails
  --side-by-side N  runs under way at a time in each worker (32)
  --disturb-every N about one run in so many kills a process or restarts a server, 0 for none (${DISTURB_EVERY})`;

export type Options = {
  seed: number;
  runs: number;
  workers: number;
  run: number | undefined;
  /** The file of a record; see record.ts. */
  record: string | undefined;
  /** Runs under way at a time in each worker. */
  sideBySide: number;
  roughness: Roughness;
  shrink: boolean;
  also: Step[];
  /** From 1. */
  steps: number[] | undefined;
};

/** Reads the command line. Ends the process for `--help` and for what cannot be used. */
export function readOptions(): Options {
  const number = (name: string, text: string, atLeast = 0) => {
    if (!/^\d+$/.test(text) || Number(text) < atLeast)
      usage(`--${name} takes a whole number${atLeast ? ` from ${atLeast}` : ''}, not ${text}`);
    return Number(text);
  };
  const { values } = parseArgs({
    options: {
      runs: { type: 'string', default: '200' },
      seed: { type: 'string', default: '1' },
      workers: { type: 'string', default: '1' },
      run: { type: 'string' },
      record: { type: 'string' },
      also: { type: 'string', default: '' },
      steps: { type: 'string' },
      'side-by-side': { type: 'string', default: '32' },
      'disturb-every': { type: 'string', default: String(DISTURB_EVERY) },
      'no-shrink': { type: 'boolean' },
      help: { type: 'boolean' },
    },
  });
  if (values.help) {
    console.log(HELP);
    process.exit(0);
  }
  if (values.record !== undefined && values.run !== undefined) usage('--record is of many runs, --run is one');
  return {
    seed: number('seed', values.seed),
    runs: number('runs', values.runs),
    workers: values.run === undefined ? number('workers', values.workers, 1) : 1,
    run: values.run === undefined ? undefined : number('run', values.run),
    record: values.record,
    sideBySide: number('side-by-side', values['side-by-side'], 1),
    roughness: { disturbEvery: number('disturb-every', values['disturb-every']), restarts: true },
    shrink: !values['no-shrink'],
    also: values.also.split(',').filter(Boolean).map(disturbance),
    steps: values.steps?.split(',').map((step) => number('steps', step)),
  };
}

/** Ends the process with what is wrong with the command line. */
export function usage(problem: string): never {
  console.error(`${problem}\n\n${HELP}`);
  process.exit(EX_USAGE);
}

function disturbance(text: string): Step {
  const [, name = '', ms] = /^(.+)@(\d+)$/.exec(text) ?? [];
  const what = DISTURBANCES.find((known) => known.endsWith(` ${name}`) || known === `kill the ${name}`);
  return what ? { kind: 'disturb', what, afterMs: Number(ms) } : usage(`--also takes worker@250 or Temporal@1000, not ${text}`);
}

/** The schedule of a run that is repeated, with what others did to it and without what is not needed. */
export function scheduleOf({ seed, roughness, also, steps }: Options, run: number): Schedule {
  const schedule = drawSchedule(seed, run, roughness);
  schedule.steps.unshift(...also);
  if (steps) schedule.steps = schedule.steps.filter((_, position) => steps.includes(position + 1));
  return schedule;
}

/** What repeats the whole. */
export function commandFor(options: Options): string {
  return options.run === undefined
    ? command(options, `--runs ${options.runs}`, [])
    : command(options, `--run ${options.run}`, options.also, options.steps);
}

/**
 * What repeats one run.
 *
 * @param lived its schedule together with what others did to it.
 * @param steps those of `lived` that are enough.
 */
export function commandForRun(options: Options, { run, lived, steps }: { run: number; lived: Schedule; steps?: number[] }): string {
  const drawn = drawSchedule(options.seed, run, options.roughness).steps.length;
  const others = options.steps ? options.also : lived.steps.slice(0, lived.steps.length - drawn);
  const enough = options.steps && steps ? steps.map((step) => options.steps?.[step - 1] ?? 0) : (steps ?? options.steps);
  return command(options, `--run ${run}`, others, enough);
}

function command({ seed, roughness }: Options, what: string, also: Step[], steps?: number[]): string {
  return [
    'npm run simulate --',
    `--seed ${seed}`,
    what,
    roughness.disturbEvery !== DISTURB_EVERY && `--disturb-every ${roughness.disturbEvery}`,
    also.length > 0 && `--also ${also.map(nameOf).join()}`,
    steps && `--steps ${steps.join()}`,
  ]
    .filter(Boolean)
    .join(' ');
}

function nameOf(step: Step): string {
  return step.kind === 'disturb' ? `${step.what.split(' ').at(-1)}@${step.afterMs}` : '';
}
