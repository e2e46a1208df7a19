/** Where the Temporal CLI is. */
import { HOW_TO_GET_IT, locateTemporalCli } from '../../setup/temporal-cli.mjs';

/** Path of the Temporal CLI, `temporal`. @throws with what to do where there is none. */
export function findTemporalCli(): string {
  const path = locateTemporalCli();
  if (path) return path;
  const named = process.env['TEMPORAL_CLI_PATH'];
  throw new Error(named ? `TEMPORAL_CLI_PATH names ${named}, which is not a program that can be run` : HOW_TO_GET_IT);
}
