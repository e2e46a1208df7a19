/**
 * The inputs of workflows, which people type in the Temporal Web UI: a misspelt `dry_run` must not change anything. What
 * a workflow does not know is refused at once, and not retried.
 */
import { ApplicationFailure, patched, workflowInfo } from '@temporalio/workflow';
import { FAILURE } from '../src/domain/failures.ts';

/** A patch. A run that began before it takes its input as it is. */
const CHECKS_ITS_INPUT = 'checks-its-input';

/** `isInternal`: no person gives it, so it is not named among the fields that exist. */
type Kind = { wanted: string; isFit: (value: unknown) => boolean; isInternal?: true };

export const TEXT: Kind = { wanted: 'has to be a string', isFit: (value) => typeof value === 'string' && value !== '' };
export const ANY_TEXT: Kind = { wanted: 'has to be a string', isFit: (value) => typeof value === 'string' };
export const FLAG: Kind = { wanted: 'has to be true or false', isFit: (value) => typeof value === 'boolean' };
export const TEXTS: Kind = {
  wanted: 'has to be a list of strings, at least one',
  isFit: (value) => Array.isArray(value) && value.length > 0 && value.every(TEXT.isFit),
};
export const COUNT: Kind = { wanted: 'has to be a number', isFit: (value) => typeof value === 'number' };
export const LIST: Kind = { wanted: 'has to be a list', isFit: Array.isArray };

/** An object that has at least these fields, each of its kind. */
export function having(fields: Readonly<Record<string, Kind>>): Kind {
  const isFit = (value: unknown) =>
    typeof value === 'object' && value !== null && Object.entries(fields).every(([name, { isFit }]) => isFit((value as never)[name]));
  return { wanted: `has to be an object with ${Object.keys(fields).join(', ')}`, isFit };
}

/** Null, or of that kind. */
export function orNull({ wanted, isFit }: Kind): Kind {
  return { wanted: `${wanted}, or null`, isFit: (value) => value === null || isFit(value) };
}

/** What a run hands on to its next part. Without one of its fields the workflow would fail where no failure ends it. */
export function progressOf(fields: Readonly<Record<string, Kind>>): Kind {
  return { ...having(fields), wanted: 'has to be what a run hands on to its next part', isInternal: true };
}

type Fields<Input> = { readonly [Field in keyof Required<Input>]: Kind };

/**
 * The input, `{}` when none was given. Null counts as not given.
 *
 * @throws a failure that names every fault and the fields that exist.
 */
export function readInput<Input extends object>(input: Input | null | undefined, fields: Fields<Input>): Input {
  refuse(faultsOf(input ?? {}, fields), fields);
  return input ?? ({} as Input);
}

/**
 * The same for a workflow that only the service starts: every field is required, and others are left alone. During a
 * deploy a newer version may start it on this worker, and no charge may be lost for a field that it has added.
 */
export function readWholeInput<Input extends object>(input: Input | null | undefined, fields: Fields<Input>): Input {
  const given = (input ?? {}) as Record<string, unknown>;
  const missing = Object.keys(fields).filter((name) => given[name] === undefined || given[name] === null);
  const known = Object.fromEntries(Object.entries(given).filter(([name]) => Object.hasOwn(fields, name)));
  refuse([...missing.map((name) => `${name} is missing`), ...faultsOf(known, fields)], fields);
  return given as Input;
}

function refuse(faults: readonly string[], fields: Readonly<Record<string, Kind>>): void {
  // Asked for only where something is wrong: the histories of all other runs stay as they are.
  if (faults.length > 0 && patched(CHECKS_ITS_INPUT)) {
    throw ApplicationFailure.nonRetryable(
      `the input of ${workflowInfo().workflowType} cannot be used: ${faults.join('; ')}; ${describeFields(fields)}`,
      FAILURE.invalidInput,
    );
  }
}

function faultsOf(input: object, fields: Readonly<Record<string, Kind>>): string[] {
  if (typeof input !== 'object' || Array.isArray(input)) return [`it is ${shown(input)}, not an object`];
  return Object.entries(input).flatMap(([name, value]) => {
    if (value === undefined || value === null) return [];
    const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (!field) return [`there is no field ${name}`];
    return field.isFit(value) ? [] : [`${name} ${field.wanted} (given: ${shown(value)})`];
  });
}

function describeFields(fields: Readonly<Record<string, Kind>>): string {
  const names = Object.entries(fields)
    .filter(([, { isInternal }]) => !isInternal)
    .map(([name, { wanted }]) => `${name} (${wanted.replace(/^has to be /, '')})`);
  return names.length === 0 ? 'it takes none' : `its fields are ${names.join(', ')}`;
}

/** Failures stay short. */
const MAX_SHOWN = 80;

function shown(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
}
