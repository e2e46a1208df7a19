/**
 * A sandbox server as a process: its options, its ready line, and how it ends.
 *
 * A server started with `--tethered` ends when its standard input closes, so it never outlives the process
 * that started it, however that one ended. Its ready line is then one line of JSON on standard output.
 */
import { parseArgs } from 'node:util';

export type RunningServer = {
  /** What the starter needs to know, as one line of JSON; printed for people without `--tethered`. */
  ready: Record<string, string | number>;
  stop: () => Promise<void>;
};

/** Exit code for options that cannot be used (sysexits.h EX_USAGE). */
const EX_USAGE = 64;

/**
 * Runs one server until SIGINT, SIGTERM or, tethered, the end of standard input.
 *
 * @param options its own options beside `--tethered` and `--help`, in the form of node:util parseArgs, each
 *   with the help line.
 */
export async function runServer<const O extends Record<string, { type: 'string' | 'boolean'; default?: string | boolean; help: string }>>(
  name: string,
  options: O,
  start: (values: Record<keyof O, string> & Record<string, string>) => Promise<RunningServer>,
): Promise<void> {
  const all = {
    ...options,
    tethered: { type: 'boolean' as const, help: 'end when standard input closes' },
    help: { type: 'boolean' as const, help: 'show this' },
  };
  let values: Record<string, string | boolean | undefined>;
  try {
    values = parseArgs({ options: all, strict: true }).values as typeof values;
  } catch (error) {
    console.error(`${name}: ${(error as Error).message} (--help lists the options)`);
    process.exit(EX_USAGE);
  }
  if (values['help']) {
    for (const [option, { help, default: fallback }] of Object.entries(all as Record<string, { help: string; default?: string }>)) {
      console.log(`  --${option.padEnd(18)} ${help}${fallback === undefined ? '' : ` (${fallback})`}`);
    }
    return;
  }

  let server: RunningServer;
  try {
    server = await start(values as never);
  } catch (error) {
    console.error(`${name}: ${(error as Error).message}`);
    process.exit(1);
  }

  let stopping = false;
  const stop = async () => {
    if (stopping) return;
    stopping = true;
    await server.stop();
    process.exit(0);
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  if (values['tethered']) {
    process.stdin.resume();
    process.stdin.on('end', stop);
    process.stdin.on('error', stop);
    console.log(JSON.stringify({ ready: server.ready }));
  } else {
    console.log(
      `${name} is ready: ${Object.entries(server.ready)
        .map(([key, value]) => `${key} ${value}`)
        .join(' · ')}`,
    );
  }
}
