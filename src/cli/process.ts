/** How the commands that keep running begin and end. */
import { type Config, ConfigError, EX_CONFIG, readConfig } from '../config.ts';
import type { Running } from '../service.ts';

/** A second signal within this time is the same Ctrl-C, once from the terminal and once from npm. */
const SAME_SIGNAL_MS = 1_000;

/** The configuration; prints everything that is wrong with it and ends the process with 78 when it cannot be used. */
export function configOrExit(env: NodeJS.ProcessEnv = process.env): Config {
  try {
    return readConfig(env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    console.error(`bill: ${error.message}\n\nEvery variable is described in .env.example.`);
    process.exit(EX_CONFIG);
  }
}

/** Ends the process in order on SIGINT or SIGTERM, and at once on a second one. */
export function stopOnSignal(running: Running, stopping: () => void = () => {}): void {
  let since: number | undefined;
  const stop = async () => {
    if (since !== undefined) {
      if (Date.now() - since > SAME_SIGNAL_MS) process.exit(130);
      return;
    }
    since = Date.now();
    stopping();
    await running.stop();
    process.exit(0);
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
}
