/** How a command ends: with an exit code that a script can tell apart, and a sentence where it has failed. */

export const EXIT = {
  /** The service or a system that it depends on cannot do it now. */
  fault: 1,
  /** The command line is wrong: an unknown command, option, name or value, one that is taken, or that the state forbids. */
  usage: 2,
  /** The command has worked, and found something that somebody has to look at. */
  found: 3,
  /** A setting is missing or wrong (sysexits.h EX_CONFIG). */
  settings: 78,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** For `bill --help`. */
export const EXIT_CODES_HELP = `
Exit codes:
  0   it is done
  1   a fault: the service, or a system that it needs, cannot do it now
  2   wrong usage: an unknown command, option, name or value, or what the present state does not allow
  3   it has found something that somebody has to look at
  78  a setting is missing or wrong`;

/** What a command fails with. The message is for the terminal. */
export class CommandError extends Error {
  override name = 'CommandError';
  readonly exitCode: ExitCode;

  constructor(message: string, exitCode: ExitCode = EXIT.fault) {
    super(message);
    this.exitCode = exitCode;
  }
}

export function usageError(message: string): CommandError {
  return new CommandError(message, EXIT.usage);
}
