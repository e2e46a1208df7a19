/** Readers of arguments, for commander. */
import { InvalidArgumentError } from 'commander';

export function number(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('It is not a number.');
  return value;
}

/** Of an option that may be repeated. */
export function list(text: string, before: string[] = []): string[] {
  return [...before, text];
}
