/** `bill dev` beside settings of production: what it refuses, and what it prints. */
import { describe, expect, test } from '@jest/globals';
import { InvalidArgumentError } from 'commander';
import { alertByHand, banner } from '../../../src/cli/dev/banner.ts';
import { ignoredEnvFile } from '../../../src/cli/dev/dev.ts';
import { OWN_SETTINGS } from '../../../src/cli/dev/embedded.ts';
import { mixtureRefusal, PART_VARIABLES, PARTS, type Part, parts } from '../../../src/cli/dev/parts.ts';
import { readConfig } from '../../../src/config.ts';

const REAL = {
  DATABASE_URL: 'postgres://bill:hunter2-database@db.example.com:5432/bill',
  TEMPORAL_ADDRESS: 'temporal.example.com:7233',
  STRIPE_API_BASE: 'https://api.stripe.com',
  KMS_BASE_URL: 'https://user:hunter2-litellm@llm.example.com',
};
const LIVE = { STRIPE_SECRET_KEY: 'sk_live_hunter2' };

/** Every choice of parts that the environment may name. */
const SETS = Array.from({ length: 2 ** PARTS.length }, (_, bits) => PARTS.filter((_part, index) => (bits >> index) % 2 === 1));

function named(given: readonly Part[]): Record<string, string> {
  return Object.fromEntries(given.map((part) => [PART_VARIABLES[part], REAL[PART_VARIABLES[part]]]));
}

test('a file .env that npm start does not read is named at its start, and one that npx bill dev has read is not', () => {
  const started = (execArgv: string[], isThere: boolean) => ignoredEnvFile({ execArgv, isThere });
  expect(started(['--disable-warning=x'], true)).toBe('the file .env is ignored: npm start reads none, and npx bill dev does');
  expect(started(['--env-file=/clone/.env'], true)).toBeNull();
  expect(started([], false)).toBeNull();
});

describe('bill dev', () => {
  test.each([[[]], [PARTS]])('runs with nothing but its own, and with nothing of its own: %j', (given) => {
    expect(mixtureRefusal({ ...LIVE, ...named(given) }, [])).toBeUndefined();
  });

  test.each(SETS.filter(({ length }) => length > 0 && length < PARTS.length).map((given) => [given] as const))(
    'refuses %j beside its own, and runs when each is allowed by name',
    (given) => {
      const env = { ...LIVE, ...named(given) };
      const refusal = mixtureRefusal(env, []) ?? '';
      expect(refusal).toContain(`--allow-real ${given.join(',')}`);
      for (const part of PARTS) expect(refusal).toContain(PART_VARIABLES[part]);
      expect(refusal).not.toContain('hunter2');
      for (const part of given) {
        const others = given.filter((other) => other !== part);
        expect(mixtureRefusal(env, others)).toMatch(new RegExp(`Unset ${PART_VARIABLES[part]} .*\n +--allow-real ${given.join(',')}$`));
      }
      expect(mixtureRefusal(env, given)).toBeUndefined();
    },
  );

  test('keeps in the line to paste what was allowed already, also where nothing of yours is set for it', () => {
    expect(mixtureRefusal({ DATABASE_URL: REAL.DATABASE_URL }, ['litellm'])).toMatch(/--allow-real database,litellm$/);
  });

  test('takes a server on loopback for a real one: a tunnel ends there', () => {
    expect(mixtureRefusal({ DATABASE_URL: 'postgres://127.0.0.1:5432/bill' }, [])).toContain('--allow-real database');
  });

  test('charges by a test key without being told, because no money moves', () => {
    const { STRIPE_API_BASE } = REAL;
    expect(mixtureRefusal({ STRIPE_API_BASE, STRIPE_SECRET_KEY: 'sk_test_1' }, [])).toBeUndefined();
    expect(mixtureRefusal({ STRIPE_API_BASE, STRIPE_SECRET_KEY: 'rk_test_1' }, [])).toBeUndefined();
    expect(mixtureRefusal({ STRIPE_API_BASE, STRIPE_SECRET_KEY: 'rk_live_1' }, [])).toContain('--allow-real stripe');
    expect(mixtureRefusal({ STRIPE_API_BASE }, [])).toContain('--allow-real stripe');
  });

  test('an empty variable names no server', () => {
    expect(mixtureRefusal({ DATABASE_URL: '', KMS_BASE_URL: '' }, [])).toBeUndefined();
  });

  test('--allow-real takes names, together or one at a time, and no others', () => {
    expect(parts('database, litellm')).toEqual(['database', 'litellm']);
    expect(parts('stripe', parts('temporal'))).toEqual(['temporal', 'stripe']);
    expect(() => parts('postgres')).toThrow(InvalidArgumentError);
    expect(() => parts('')).toThrow(InvalidArgumentError);
  });
});

describe('the banner', () => {
  const OWN = {
    DATABASE_URL: 'postgres://bill:dev@127.0.0.1:15432/bill',
    TEMPORAL_ADDRESS: '127.0.0.1:7233',
    STRIPE_API_BASE: 'http://127.0.0.1:12111',
    KMS_BASE_URL: 'http://127.0.0.1:4000',
  };
  function shown(given: Record<string, string>): string {
    const config = readConfig({ ...OWN_SETTINGS, ...OWN, ...given });
    return banner({
      config,
      given,
      apiUrl: 'http://127.0.0.1:8080',
      workflowsUrl: 'http://127.0.0.1:8233',
      logFile: 'bill.log',
      metricsUrls: ['http://127.0.0.1:9464/metrics'],
    });
  }

  test('prints the secrets of its own, and a curl with one of them', () => {
    const text = shown({});
    for (const secret of Object.values(OWN_SETTINGS)) expect(text).toContain(secret);
    expect(text).toContain(alertByHand('http://127.0.0.1:8080', {}));
    expect(text).not.toContain('REAL');
  });

  test('prints lines to paste, after which what is printed elsewhere runs: bill, and a curl of LiteLLM', () => {
    const lines = shown({})
      .split('\n')
      .map((line) => line.trim());
    expect(lines).toEqual(
      expect.arrayContaining([
        "alias bill='npx bill'",
        'export PUBLIC_URL=http://127.0.0.1:8080',
        'export KMS_BASE_URL=http://127.0.0.1:4000',
        'export KMS_API_KEY=sk-1234',
        'export ADMIN_API_KEY=dev-admin-key',
        'npx bill status',
      ]),
    );
    const real = shown({ KMS_BASE_URL: REAL.KMS_BASE_URL, KMS_API_KEY: 'sk-hunter2' });
    expect(real).toContain('# KMS_BASE_URL is yours');
    expect(real).toContain('# KMS_API_KEY is yours');
    expect(real).not.toContain('hunter2');
  });

  test('says which parts are real, and prints no secret of the operator', () => {
    const secrets = Object.keys(OWN_SETTINGS).map((name) => [name, `${name.startsWith('STRIPE_SECRET') ? 'sk_live_' : ''}hunter2-${name}`]);
    const text = shown({ ...REAL, ...Object.fromEntries(secrets) });
    expect(text.match(/REAL/g)).toHaveLength(PARTS.length);
    for (const address of ['db.example.com:5432', 'temporal.example.com:7233', 'api.stripe.com', 'llm.example.com'])
      expect(text).toContain(address);
    expect(text).not.toContain('hunter2');
    expect(text).toMatch(/\?token=\$\{WEBHOOK_URL_TOKENS%%,\*\}"/);
  });

  test('names a team to try only where it has made one itself', () => {
    expect(shown({}).match(/acme/g)).toHaveLength(2);
    expect(shown({ DATABASE_URL: REAL.DATABASE_URL })).not.toContain('acme');
  });

  test('marks one real part among its own, and says where commands go', () => {
    expect(shown({ KMS_BASE_URL: REAL.KMS_BASE_URL })).toMatch(/litellm +.*REAL/);
    expect(shown({ PUBLIC_URL: 'https://bill.example.com' })).toContain('they go to where PUBLIC_URL of your environment says');
  });
});
