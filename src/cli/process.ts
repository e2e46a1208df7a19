/** How the long-running commands start and stop. */
import { type Config, ConfigError, EX_CONFIG, type Part, readConfig } from '../config.ts';
import type { Running } from '../running.ts';

/** A second signal within this time is the same Ctrl-C: the terminal and npm each send it. */
const SAME_SIGNAL_MS = 1_000;

/** The configuration. When it cannot be used, prints every problem and ends the process with 78. */
export function configOrExit(env: NodeJS.ProcessEnv = process.env): Config {
  return orExit(() => readConfig(env));
}

/** The same for some parts of it; the settings of the others are not asked for. */
export function partsOrExit<P extends Part>(parts: readonly P[], env: NodeJS.ProcessEnv = process.env): Pick<Config, P> {
  return orExit(() => readConfig(env, parts));
}

function orExit<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    console.error(`bill: ${error.message}\n\nEvery variable is described in .env.example.`);
    process.exit(EX_CONFIG);
  }
}

/** Stops on SIGINT or SIGTERM and ends the process with 0; on a second signal ends it at once, with 130. */
export function stopOnSignal(running: Running, stopping: () => void = () => {}): void {
  let stoppingSince: number | undefined;
  const onSignal = () => {
    if (stoppingSince !== undefined) {
      if (Date.now() - stoppingSince > SAME_SIGNAL_MS) process.exit(130);
      return;
    }
    stoppingSince = Date.now();
    stopping();
    running.stop().then(
      () => process.exit(0),
      (error: Error) => {
        console.error(`bill: ${error.message}`);
        process.exit(1);
      },
    );
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
}
