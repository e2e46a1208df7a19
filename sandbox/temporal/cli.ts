/** Finds the Temporal CLI. */
import { HOW_TO_GET_IT, locateTemporalCli } from '../../setup/temporal-cli.mjs';

/** Path of the Temporal CLI, `temporal`. @throws with how to get it when it is missing. */
export function findTemporalCli(): string {
  const path = locateTemporalCli();
  if (path) return path;
  const named = process.env['TEMPORAL_CLI_PATH'];
  throw new Error(named ? `TEMPORAL_CLI_PATH names ${named}, which is not a program that can be run` : HOW_TO_GET_IT);
}
