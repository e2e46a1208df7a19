/**
 * The inputs of workflows, which people type in the Temporal Web UI: a misspelt `dry_run` must not change anything. What
 * a workflow does not know is refused at once, and not retried.
 */
import { ApplicationFailure, patched, workflowInfo } from '@temporalio/workflow';
import { FAILURE } from '../src/domain/failures.ts';

/** A patch. A run that began before it takes its input as it is. */
const CHECKS_ITS_INPUT = 'checks-its-input';

type Kind = { wanted: string; isFit: (value: unknown) => boolean };

export const TEXT: Kind = { wanted: 'is a string', isFit: (value) => typeof value === 'string' && value !== '' };
export const FLAG: Kind = { wanted: 'is true or false', isFit: (value) => typeof value === 'boolean' };
export const TEXTS: Kind = {
  wanted: 'is a list of strings, at least one',
  isFit: (value) => Array.isArray(value) && value.length > 0 && value.every(TEXT.isFit),
};
/** What a run hands on to its next part. */
export const PROGRESS: Kind = { wanted: 'is what a run hands on to its next part', isFit: (value) => typeof value === 'object' };

type Fields<Input> = { readonly [Field in keyof Required<Input>]: Kind };

/**
 * The input, `{}` when none was given. Null counts as not given.
 *
 * @param required fields without which the workflow cannot run.
 * @throws a failure that names every fault and the fields that exist.
 */
export function readInput<Input extends object>(
  input: Input | null | undefined,
  fields: Fields<Input>,
  required: readonly (keyof Input & string)[] = [],
): Input {
  const faults = faultsOf(input ?? {}, fields, required);
  // Asked for only where something is wrong: the histories of all other runs stay as they are.
  if (faults.length > 0 && patched(CHECKS_ITS_INPUT)) {
    throw ApplicationFailure.nonRetryable(
      `the input of ${workflowInfo().workflowType} cannot be used: ${faults.join('; ')}; ${describeFields(fields)}`,
      FAILURE.invalidInput,
    );
  }
  return input ?? ({} as Input);
}

function faultsOf(input: object, fields: Readonly<Record<string, Kind>>, required: readonly string[]): string[] {
  if (typeof input !== 'object' || Array.isArray(input)) return [`it is ${shown(input)}, not an object`];
  const given = Object.entries(input).filter(([, value]) => value !== undefined && value !== null);
  return [
    ...given.flatMap(([name, value]) => {
      const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
      if (!field) return [`there is no field ${name}`];
      return field.isFit(value) ? [] : [`${name} ${field.wanted} (given: ${shown(value)})`];
    }),
    ...required.filter((name) => !given.some(([each]) => each === name)).map((name) => `${name} is missing`),
  ];
}

function describeFields(fields: Readonly<Record<string, Kind>>): string {
  const names = Object.entries(fields)
    .filter(([, kind]) => kind !== PROGRESS)
    .map(([name, { wanted }]) => `${name} (${wanted.replace(/^is /, '')})`);
  return names.length === 0 ? 'it takes none' : `its fields are ${names.join(', ')}`;
}

/** Failures stay short. */
const MAX_SHOWN = 80;

function shown(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
}
