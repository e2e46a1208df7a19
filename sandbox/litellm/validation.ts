/**
 * Reads request bodies and queries as pydantic does in LiteLLM: unknown fields are ignored, numeric strings
 * are numbers, and a 422 lists every field that does not fit.
 */
import type { SandboxRequest } from '../exchange.ts';
import { type ValidationIssue, validationError } from './errors.ts';

export type JsonObject = { [name: string]: unknown };

type Kinds = { string: string; float: number; integer: number; boolean: boolean; object: JsonObject; list: unknown[]; any: unknown };

/** Field → kind; a kind with `!` is required and not null. */
export type Schema = Record<string, keyof Kinds | `${keyof Kinds}!`>;

/**
 * What a body that fits a schema looks like: absent fields stay absent, which LiteLLM tells apart from null.
 */
export type Fitting<S extends Schema> = {
  [F in keyof S as S[F] extends `${string}!` ? F : never]: S[F] extends `${infer K extends keyof Kinds}!` ? Kinds[K] : never;
} & {
  [F in keyof S as S[F] extends `${string}!` ? never : F]?: S[F] extends keyof Kinds ? Kinds[S[F]] | null : never;
};

/**
 * The body as JSON. @throws 422 `json_invalid` or `missing`, as FastAPI answers before it looks at the key.
 */
export function parseJson(request: SandboxRequest): JsonObject | undefined {
  if (request.body === '') return undefined;
  try {
    return JSON.parse(request.body);
  } catch (error) {
    throw validationError([
      { type: 'json_invalid', loc: ['body', 0], msg: 'JSON decode error', input: {}, ctx: { error: (error as Error).message } },
    ]);
  }
}

/** The fields of `schema` that the body holds. @throws 422. */
export function readBody<const S extends Schema>(schema: S, body: JsonObject | undefined): Fitting<S> {
  if (body === undefined || body === null) throw validationError([{ type: 'missing', loc: ['body'], msg: 'Field required', input: null }]);
  const fitting: JsonObject = {};
  const issues: ValidationIssue[] = [];
  for (const [field, kindAndNeed] of Object.entries(schema)) {
    const required = kindAndNeed.endsWith('!');
    const kind = kindAndNeed.replace('!', '') as keyof Kinds;
    if (!Object.hasOwn(body, field)) {
      if (required) issues.push({ type: 'missing', loc: ['body', field], msg: 'Field required', input: body });
      continue;
    }
    const value = body[field];
    if (value === null && !required) fitting[field] = null;
    else {
      const read = coerce(kind, value);
      if ('issue' in read) issues.push({ type: read.issue[0], loc: ['body', field], msg: read.issue[1], input: value });
      else fitting[field] = read.value;
    }
  }
  if (issues.length > 0) throw validationError(issues);
  return fitting as Fitting<S>;
}

/** Paging parameters, each an integer of at least 1. @throws 422. */
export function readPaging(query: URLSearchParams, sizeName: string, defaultSize: number): { page: number; size: number } {
  const issues: ValidationIssue[] = [];
  const read = (name: string, fallback: number, most: number): number => {
    const input = query.get(name);
    if (input === null) return fallback;
    const loc = ['query', name];
    if (!/^[+-]?\d+$/.test(input)) {
      issues.push({ ...NO_INTEGER, loc, input });
    } else if (Number(input) < 1) {
      issues.push({ type: 'greater_than_equal', loc, msg: 'Input should be greater than or equal to 1', input, ctx: { ge: 1 } });
    } else if (Number(input) > most) {
      issues.push({ type: 'less_than_equal', loc, msg: `Input should be less than or equal to ${most}`, input, ctx: { le: most } });
    }
    return Number(input);
  };
  const page = read('page', 1, Number.MAX_SAFE_INTEGER);
  const size = read(sizeName, defaultSize, 100);
  if (issues.length > 0) throw validationError(issues);
  return { page, size };
}

/** A limit in the query, an integer above 0; null without one. @throws 422. */
export function readLimit(query: URLSearchParams, name: string): number | null {
  const input = query.get(name);
  if (input === null) return null;
  const loc = ['query', name];
  if (!/^[+-]?\d+$/.test(input)) throw validationError([{ ...NO_INTEGER, loc, input }]);
  if (Number(input) > 0) return Number(input);
  throw validationError([{ type: 'greater_than', loc, msg: 'Input should be greater than 0', input, ctx: { gt: 0 } }]);
}

const NO_INTEGER = { type: 'int_parsing', msg: 'Input should be a valid integer, unable to parse string as an integer' };

type Coerced = { value: unknown } | { issue: [type: string, msg: string] };

function coerce(kind: keyof Kinds, value: unknown): Coerced {
  switch (kind) {
    case 'any':
      return { value };
    case 'string':
      return typeof value === 'string' ? { value } : { issue: ['string_type', 'Input should be a valid string'] };
    case 'float':
    case 'integer': {
      const name = kind === 'float' ? 'number' : 'integer';
      const prefix = kind === 'float' ? 'float' : 'int';
      if (typeof value === 'boolean') return { value: Number(value) };
      if (typeof value === 'string') {
        const number = value.trim() === '' ? Number.NaN : Number(value);
        if (kind === 'float' ? !Number.isNaN(number) : Number.isInteger(number)) return { value: number };
        const article = kind === 'float' ? 'a number' : 'an integer';
        return { issue: [`${prefix}_parsing`, `Input should be a valid ${name}, unable to parse string as ${article}`] };
      }
      if (kind === 'integer' && typeof value === 'number' && !Number.isInteger(value)) {
        return { issue: ['int_from_float', 'Input should be a valid integer, got a number with a fractional part'] };
      }
      return typeof value === 'number' ? { value } : { issue: [`${prefix}_type`, `Input should be a valid ${name}`] };
    }
    case 'boolean':
      if (typeof value === 'boolean') return { value };
      if (value === 1 || value === 'true') return { value: true };
      if (value === 0 || value === 'false') return { value: false };
      return typeof value === 'string' || typeof value === 'number'
        ? { issue: ['bool_parsing', 'Input should be a valid boolean, unable to interpret input'] }
        : { issue: ['bool_type', 'Input should be a valid boolean'] };
    case 'object':
      return typeof value === 'object' && value !== null && !Array.isArray(value)
        ? { value }
        : { issue: ['dict_type', 'Input should be a valid dictionary'] };
    case 'list':
      return Array.isArray(value) ? { value } : { issue: ['list_type', 'Input should be a valid list'] };
  }
}
