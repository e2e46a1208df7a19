/** Readers of arguments, for commander. */
import { InvalidArgumentError } from 'commander';
import { usageError } from './exit.ts';

export function number(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('It is not a number.');
  return value;
}

/**
 * An empty argument, or value of an option, is a variable of the shell that is not set. It would ask for the list instead of the one.
 *
 * @throws CommandError
 */
export function refuseEmpty(given: readonly string[]): void {
  if (given.some((argument) => argument.trim() === '')) throw usageError('an argument is empty: is a variable not set?');
}

/** The texts among the values of options, also of those that may be repeated. */
export function givenValues(options: Record<string, unknown>): string[] {
  return Object.values(options)
    .flat()
    .filter((value) => typeof value === 'string');
}

/** Of an option that may be repeated. */
export function list(text: string, before: string[] = []): string[] {
  return [...before, text];
}
