/**
 * Which parts of `bill dev` are servers of the operator's own, and whether they may stand beside those that it
 * starts itself.
 *
 * Beside a stand-in for Stripe, an organization of a real database would get quota in a real LiteLLM that nobody has
 * paid for; beside a stand-in for LiteLLM, a real card would be charged for quota that nobody gets; and a worker on a
 * real Temporal takes the activities of the workers that run there. A `.env` of production lying about is enough for
 * any of it, so each part that the environment names has to be named on the command line as well.
 */

import { InvalidArgumentError } from 'commander';

export const PARTS = ['database', 'temporal', 'stripe', 'litellm'] as const;
export type Part = (typeof PARTS)[number];

/** The variable that replaces what `bill dev` starts for a part. */
export const PART_VARIABLES = {
  database: 'DATABASE_URL',
  temporal: 'TEMPORAL_ADDRESS',
  stripe: 'STRIPE_API_BASE',
  litellm: 'KMS_BASE_URL',
} as const satisfies Record<Part, string>;

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Whether the environment names a server for this part. Its address does not matter: a tunnel to production ends on
 * loopback, too.
 */
export function isReal(part: Part, env: Environment): boolean {
  return Boolean(env[PART_VARIABLES[part]]);
}

/** With a test key no money moves. */
function chargesRealCards(env: Environment): boolean {
  return !/^(sk|rk)_test_/.test(env['STRIPE_SECRET_KEY'] ?? '');
}

/**
 * Why `bill dev` may not start, and what to do; undefined when it may: every part is real, or those that are were
 * allowed by name. Stripe with a test key needs no leave.
 */
export function mixtureRefusal(env: Environment, allowed: readonly Part[]): string | undefined {
  const real = PARTS.filter((part) => isReal(part, env));
  if (real.length === PARTS.length) return undefined;
  const asked = real.filter((part) => !allowed.includes(part) && (part !== 'stripe' || chargesRealCards(env)));
  if (asked.length === 0) return undefined;
  const own = PARTS.filter((part) => !real.includes(part));
  return [
    'bill dev does not mix servers of yours with those that it starts itself:',
    `  yours      ${real.map((part) => `${part} (${PART_VARIABLES[part]})`).join(', ')}`,
    `  its own    ${own.map((part) => `${part} (${PART_VARIABLES[part]} is not set)`).join(', ')}`,
    ...(own.includes('stripe') ? ['What a stand-in for Stripe calls paid becomes quota, and no money has moved.'] : []),
    ...(own.includes('litellm') ? ['A stand-in for LiteLLM gives nobody quota for the money that is charged.'] : []),
    `Unset ${asked.map((part) => PART_VARIABLES[part]).join(' and ')} (of .env, if it came by npm run bill), or say that you mean it:`,
    `  --allow-real ${PARTS.filter((part) => asked.includes(part) || allowed.includes(part)).join(',')}`,
  ].join('\n');
}

/** Reads the names of parts, comma-separated; of an option that may be repeated. */
export function parts(text: string, before: Part[] = []): Part[] {
  const names = text.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !(PARTS as readonly string[]).includes(name));
  if (unknown !== undefined) throw new InvalidArgumentError(`${unknown || 'An empty name'} is none of ${PARTS.join(', ')}.`);
  return [...before, ...(names as Part[])];
}
