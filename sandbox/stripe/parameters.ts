/** Reads a call's parameters the way Stripe validates them, each failure with Stripe's code and `param`. */
import { invalidParameter } from './errors.ts';
import type { Form, FormValue } from './form.ts';

/** A list has 10 objects unless `limit` says otherwise, and never more than 100. */
const DEFAULT_LIMIT = 10;
const MAX_LIMIT = 100;

/** Stripe's bounds on metadata: https://docs.stripe.com/metadata#data */
const MAX_METADATA_KEYS = 50;
const MAX_METADATA_KEY_LENGTH = 40;
const MAX_METADATA_VALUE_LENGTH = 500;

export type Page = { limit: number; starting_after: string | undefined; ending_before: string | undefined };
export type CreatedRange = (created: number) => boolean;

export class Parameters {
  private readonly form: Form;
  /** The name of the surrounding parameter, for messages. */
  private readonly within: string | undefined;

  constructor(form: Form, within?: string) {
    this.form = form;
    this.within = within;
  }

  /**
   * Refuses every parameter not named here. One that Stripe has and this stand-in does not model is refused
   * too, rather than ignored. `expand` is always allowed.
   */
  allowOnly(...names: string[]): void {
    const unknown = Object.keys(this.form).find((name) => name !== 'expand' && !names.includes(name));
    if (unknown === undefined) return;
    throw invalidParameter(`Received unknown parameter: ${this.nameOf(unknown)}`, this.nameOf(unknown), 'parameter_unknown');
  }

  has(name: string): boolean {
    return this.form[name] !== undefined;
  }

  /** Absent and empty are both undefined: Stripe unsets a field by an empty string, see `has`. */
  text(name: string): string | undefined {
    const value = this.form[name];
    if (value === undefined || value === '') return undefined;
    if (typeof value !== 'string') throw invalidParameter(`Invalid string: ${name}`, this.nameOf(name));
    return value;
  }

  requiredText(name: string): string {
    const value = this.text(name);
    if (value === undefined) throw this.missing(name);
    return value;
  }

  integer(name: string): number | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    const number = Number(value);
    if (!/^-?\d+$/.test(value) || !Number.isSafeInteger(number)) {
      throw invalidParameter(`Invalid integer: ${value}`, this.nameOf(name), 'parameter_invalid_integer');
    }
    return number;
  }

  boolean(name: string): boolean | undefined {
    const value = this.oneOf(name, ['true', 'false']);
    return value === undefined ? undefined : value === 'true';
  }

  oneOf<const T extends string>(name: string, allowed: readonly T[]): T | undefined {
    const value = this.text(name);
    if (value === undefined || (allowed as readonly string[]).includes(value)) return value as T | undefined;
    throw invalidParameter(`Invalid ${this.nameOf(name)}: must be one of ${allowed.join(', ')}`, this.nameOf(name));
  }

  texts(name: string): string[] | undefined {
    const value = this.form[name];
    if (value === undefined) return undefined;
    if (typeof value === 'string') return value === '' ? [] : [value];
    const values: FormValue[] = Object.values(value);
    if (!values.every((item) => typeof item === 'string')) throw invalidParameter(`Invalid array: ${name}`, this.nameOf(name));
    return values;
  }

  nested(name: string): Parameters {
    const value = this.form[name] ?? '';
    if (value !== '' && typeof value === 'string') throw invalidParameter('Invalid object', this.nameOf(name));
    return new Parameters(value === '' ? {} : value, this.nameOf(name));
  }

  /**
   * The metadata after this call: given keys are set, keys with an empty value go, an empty `metadata` clears
   * all.
   */
  metadata(current: Record<string, string> = {}): Record<string, string> {
    const value = this.form['metadata'];
    if (value === undefined) return current;
    if (typeof value === 'string') {
      if (value === '') return {};
      throw invalidParameter('Invalid object', 'metadata');
    }
    const merged = new Map(Object.entries(current));
    for (const [key, text] of Object.entries(value)) {
      const param = `metadata[${key}]`;
      if (typeof text !== 'string') throw invalidParameter('Metadata values must be strings', param);
      if (key.length > MAX_METADATA_KEY_LENGTH) {
        throw invalidParameter(`Metadata keys must be under ${MAX_METADATA_KEY_LENGTH} characters long`, param);
      }
      if (text.length > MAX_METADATA_VALUE_LENGTH) {
        throw invalidParameter(`Metadata values must be under ${MAX_METADATA_VALUE_LENGTH} characters long`, param);
      }
      if (text === '') merged.delete(key);
      else merged.set(key, text);
    }
    if (merged.size > MAX_METADATA_KEYS) throw invalidParameter(`Metadata can have up to ${MAX_METADATA_KEYS} keys`, 'metadata');
    return Object.fromEntries(merged);
  }

  page(): Page {
    const limit = this.integer('limit') ?? DEFAULT_LIMIT;
    if (limit < 1 || limit > MAX_LIMIT) {
      throw invalidParameter(`Invalid integer: limit must be between 1 and ${MAX_LIMIT}`, 'limit', 'parameter_invalid_integer');
    }
    return { limit, starting_after: this.text('starting_after'), ending_before: this.text('ending_before') };
  }

  /** `created=<seconds>` or `created[gte|gt|lte|lt]=<seconds>`. */
  created(): CreatedRange {
    if (typeof this.form['created'] === 'string') {
      const exact = this.integer('created');
      return (created) => exact === undefined || created === exact;
    }
    const range = this.nested('created');
    range.allowOnly('gt', 'gte', 'lt', 'lte');
    const [gt, gte] = [range.integer('gt') ?? -Infinity, range.integer('gte') ?? -Infinity];
    const [lt, lte] = [range.integer('lt') ?? Infinity, range.integer('lte') ?? Infinity];
    return (created) => created > gt && created >= gte && created < lt && created <= lte;
  }

  missing(name: string) {
    return invalidParameter(`Missing required param: ${this.nameOf(name)}.`, this.nameOf(name), 'parameter_missing');
  }

  private nameOf(name: string): string {
    return this.within === undefined ? name : `${this.within}[${name}]`;
  }
}
