import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ConfigError, readConfig } from '../../src/config.ts';

/** The least that the service runs with. */
const ENV = {
  DATABASE_URL: 'postgres://bill:pw@db:5432/bill',
  STRIPE_SECRET_KEY: 'sk_test_4eC39HqLyjWDarjtT1zdp7dc',
  KMS_BASE_URL: 'http://litellm:4000',
  KMS_API_KEY: 'sk-litellm-master',
  WEBHOOK_HMAC_SECRETS: 'a-shared-secret',
  ADMIN_API_KEY: 'an-admin-key',
};
type Env = Record<string, string | undefined>;

function errorOf(env: Env): ConfigError {
  try {
    readConfig(env);
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error('the environment was accepted');
}

/** The variables that are complained about. */
const complaints = (env: Env) => errorOf(env).problems.map((problem) => problem.split(' ')[0]);

describe('the least environment', () => {
  test('is completed with the defaults of the contract', () => {
    const { temporal, ...config } = readConfig(ENV);
    expect(config).toEqual({
      databaseUrl: ENV.DATABASE_URL,
      stripe: { secretKey: ENV.STRIPE_SECRET_KEY, apiBase: 'https://api.stripe.com', webhookSecrets: [], chargesPerSecond: 20 },
      kms: { baseUrl: ENV.KMS_BASE_URL, apiKey: ENV.KMS_API_KEY },
      webhook: { hmacSecrets: ['a-shared-secret'], urlTokens: [] },
      http: { host: '127.0.0.1', port: 8080, publicUrl: 'http://127.0.0.1:8080', adminApiKey: 'an-admin-key', drainMs: 0 },
      logLevel: 'info',
      metrics: { host: '127.0.0.1', port: undefined },
      outbound: { notify: undefined, allowPrivate: false },
      tracing: undefined,
    });
    expect(temporal.taskQueue).toBe('bill-service');
  });

  test('cannot be changed once it is read', () => {
    expect(Object.isFrozen(readConfig(ENV))).toBe(true);
  });

  test('may have its alerts authenticated by URL tokens instead of HMAC secrets', () => {
    const { WEBHOOK_HMAC_SECRETS: _, ...rest } = ENV;
    expect(readConfig({ ...rest, WEBHOOK_URL_TOKENS: 'a-url-token' }).webhook).toEqual({ hmacSecrets: [], urlTokens: ['a-url-token'] });
  });
});

describe('a part of it', () => {
  test('asks for its own variables only', () => {
    const { DATABASE_URL } = ENV;
    const { temporal, ...config } = readConfig({ DATABASE_URL, PORT: 'eighty' }, ['databaseUrl', 'temporal', 'logLevel']);
    expect(config).toEqual({ databaseUrl: DATABASE_URL, logLevel: 'info' });
    expect(temporal.taskQueue).toBe('bill-service');
    expect(readConfig({ ADMIN_API_KEY: ENV.ADMIN_API_KEY }, ['http']).http.publicUrl).toBe('http://127.0.0.1:8080');
  });

  test('is as strict about these as the whole', () => {
    expect(() => readConfig({ LOG_LEVEL: 'loud' }, ['databaseUrl', 'logLevel'])).toThrow(
      /DATABASE_URL is not set.*LOG_LEVEL is not one of/s,
    );
    expect(() => readConfig({}, ['webhook'])).toThrow(/WEBHOOK_HMAC_SECRETS is not set, nor is WEBHOOK_URL_TOKENS/);
    expect(() => readConfig({ NOTIFY_WEBHOOK_URL: 'https://a.example' }, ['outbound'])).toThrow(/NOTIFY_WEBHOOK_SECRET/);
  });
});

describe('a variable that is set', () => {
  test('is used', () => {
    const config = readConfig({
      ...ENV,
      STRIPE_API_BASE: 'http://127.0.0.1:12111',
      STRIPE_RATE_LIMIT: '2.5',
      HOST: '0.0.0.0',
      PORT: '0',
      LOG_LEVEL: 'debug',
      TEMPORAL_ADDRESS: 'temporal:7233',
      TEMPORAL_NAMESPACE: 'billing',
      TEMPORAL_TASK_QUEUE: 'another-queue',
      NOTIFY_WEBHOOK_URL: 'https://example.com/hook',
      NOTIFY_WEBHOOK_SECRET: 'a-notify-secret',
      OUTBOUND_ALLOW_PRIVATE: 'true',
    });
    expect(config.stripe).toMatchObject({ apiBase: 'http://127.0.0.1:12111', chargesPerSecond: 2.5 });
    expect(config.http).toMatchObject({ host: '0.0.0.0', port: 0, publicUrl: 'http://0.0.0.0:0' });
    expect(config.logLevel).toBe('debug');
    expect(config.temporal).toMatchObject({
      connect: { connectionOptions: { address: 'temporal:7233' }, namespace: 'billing' },
      taskQueue: 'another-queue',
    });
    expect(config.outbound).toEqual({
      notify: { url: 'https://example.com/hook', secret: 'a-notify-secret' },
      allowPrivate: true,
    });
  });

  test('turns traces on where it is an endpoint of theirs, unless another turns them off', () => {
    const on = { ...ENV, OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318' };
    expect(readConfig(on).tracing).toMatchObject({ sampler: 'parentbased_always_on', ratio: 1 });
    const own = { OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '0.25', OTEL_BSP_SCHEDULE_DELAY: '100' };
    expect(readConfig({ ...on, ...own }).tracing).toMatchObject({
      sampler: 'traceidratio',
      ratio: 0.25,
      batches: { scheduledDelayMillis: 100 },
    });
    expect(readConfig({ ...on, OTEL_SDK_DISABLED: 'true' }).tracing).toBeUndefined();
    expect(readConfig({ ...on, OTEL_TRACES_EXPORTER: 'none' }).tracing).toBeUndefined();
  });

  test('to nothing is one that is not set', () => {
    const empty = {
      HOST: '',
      PORT: '',
      LOG_LEVEL: '',
      PUBLIC_URL: '',
      STRIPE_API_BASE: '',
      NOTIFY_WEBHOOK_URL: '',
      TEMPORAL_TASK_QUEUE: '',
    };
    expect(readConfig({ ...ENV, ...empty })).toEqual(readConfig(ENV));
  });

  test('is not taken from the process when another environment is given', () => {
    const before = process.env['TEMPORAL_ADDRESS'];
    process.env['TEMPORAL_ADDRESS'] = 'elsewhere:7233';
    try {
      expect(readConfig(ENV).temporal.connect.connectionOptions.address).not.toBe('elsewhere:7233');
    } finally {
      if (before === undefined) delete process.env['TEMPORAL_ADDRESS'];
      else process.env['TEMPORAL_ADDRESS'] = before;
    }
  });

  test('to a list is split at commas, spaces and gaps left out', () => {
    const { webhook } = readConfig({ ...ENV, WEBHOOK_HMAC_SECRETS: ' the-new-secret , the-old-secret,,' });
    expect(webhook.hmacSecrets).toEqual(['the-new-secret', 'the-old-secret']);
  });

  test('to a key loses what a file or an echo has put behind it', () => {
    const NOTIFY_WEBHOOK_URL = 'https://example.com';
    for (const end of ['\n', '\r\n', ' ']) {
      const { stripe, kms, http, outbound } = readConfig({
        ...ENV,
        NOTIFY_WEBHOOK_URL,
        STRIPE_SECRET_KEY: `${ENV.STRIPE_SECRET_KEY}${end}`,
        KMS_API_KEY: `${ENV.KMS_API_KEY}${end}`,
        ADMIN_API_KEY: `${ENV.ADMIN_API_KEY}${end}`,
        NOTIFY_WEBHOOK_SECRET: `a-notify-secret${end}`,
      });
      expect([stripe.secretKey, kms.apiKey, http.adminApiKey]).toEqual([ENV.STRIPE_SECRET_KEY, ENV.KMS_API_KEY, ENV.ADMIN_API_KEY]);
      expect(outbound.notify?.secret).toBe('a-notify-secret');
    }
  });

  test('to where events are sent stays as it is: a server may have another answer without the slash', () => {
    const given = { ...ENV, NOTIFY_WEBHOOK_SECRET: 'a-notify-secret', NOTIFY_WEBHOOK_URL: 'https://example.com/hooks/' };
    expect(readConfig(given).outbound.notify?.url).toBe('https://example.com/hooks/');
  });

  test('to an address loses the slashes at its end', () => {
    const { kms, http } = readConfig({ ...ENV, KMS_BASE_URL: 'http://litellm:4000//', PUBLIC_URL: 'https://bill.example.com/base/' });
    expect([kms.baseUrl, http.publicUrl]).toEqual(['http://litellm:4000', 'https://bill.example.com/base']);
  });
});

describe('everything wrong is told at once', () => {
  test('when nothing is set', () => {
    expect(complaints({})).toEqual([
      'DATABASE_URL',
      'STRIPE_SECRET_KEY',
      'KMS_BASE_URL',
      'KMS_API_KEY',
      'ADMIN_API_KEY',
      'WEBHOOK_HMAC_SECRETS',
    ]);
  });

  test.each(Object.keys(ENV))('when %s alone is missing', (name) => {
    expect(complaints({ ...ENV, [name]: undefined })).toEqual([name]);
    expect(complaints({ ...ENV, [name]: '' })).toEqual([name]);
  });

  const WRONG: Env = {
    DATABASE_URL: 'mysql://db/bill',
    STRIPE_SECRET_KEY: 'pk_test_4eC39HqLyjWDarjtT1zdp7dc',
    STRIPE_API_BASE: 'api.stripe.com',
    STRIPE_RATE_LIMIT: '0',
    STRIPE_WEBHOOK_SECRETS: 'short',
    KMS_BASE_URL: 'ftp://litellm',
    WEBHOOK_HMAC_SECRETS: 'long-enough,short',
    WEBHOOK_URL_TOKENS: '1234567',
    ADMIN_API_KEY: 'short',
    PORT: '65536',
    PUBLIC_URL: 'not an address',
    LOG_LEVEL: 'loud',
    NOTIFY_WEBHOOK_URL: '//example.com',
    NOTIFY_WEBHOOK_SECRET: 'short',
    OUTBOUND_ALLOW_PRIVATE: 'yes',
    TEMPORAL_UI_URL: 'localhost',
    DRAIN_SECONDS: 'soon',
    OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4318',
    OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
    OTEL_TRACES_EXPORTER: 'zipkin',
    OTEL_TRACES_SAMPLER: 'jaeger_remote',
    OTEL_TRACES_SAMPLER_ARG: '10',
    OTEL_BSP_SCHEDULE_DELAY: '5s',
  };

  test('when everything is wrong, each line naming its variable', () => {
    const error = errorOf({ ...WRONG, KMS_API_KEY: '' });
    expect(complaints({ ...WRONG, KMS_API_KEY: '' }).sort()).toEqual([...Object.keys(WRONG), 'KMS_API_KEY'].sort());
    for (const problem of error.problems) expect(error.message).toContain(`\n  ${problem}`);
  });

  test.each(Object.entries(WRONG))('when %s alone is wrong', (name, value) => {
    const alone = { ...ENV, NOTIFY_WEBHOOK_URL: 'https://example.com', NOTIFY_WEBHOOK_SECRET: 'long-enough' };
    expect(complaints({ ...alone, [name]: value })).toEqual([name]);
  });

  test('when an outbound address is set without the secret that signs', () => {
    expect(complaints({ ...ENV, NOTIFY_WEBHOOK_URL: 'https://example.com/hook' })).toEqual(['NOTIFY_WEBHOOK_SECRET']);
  });

  test('when the settings of Temporal contradict each other', () => {
    const contradiction = { TEMPORAL_TLS_CLIENT_CERT_PATH: '/cert.pem', TEMPORAL_TLS_CLIENT_CERT_DATA: 'PEM' };
    expect(complaints({ ...ENV, ADMIN_API_KEY: undefined, ...contradiction })).toEqual(['ADMIN_API_KEY', 'TEMPORAL_…']);
  });

  test.each(['-1', '65536', '80.5', 'http', ' ', '0x50', '1e3'])('when the port is %j', (PORT) => {
    expect(complaints({ ...ENV, PORT })).toEqual(['PORT']);
  });

  test.each(['-1', '0', 'twenty', '10001', 'Infinity'])('when the pace of charges is %j', (STRIPE_RATE_LIMIT) => {
    expect(complaints({ ...ENV, STRIPE_RATE_LIMIT })).toEqual(['STRIPE_RATE_LIMIT']);
  });

  test.each(['OTEL_BSP_MAX_QUEUE_SIZE', 'OTEL_BSP_MAX_EXPORT_BATCH_SIZE'])('when %s leaves room for no span', (name) => {
    expect(complaints({ ...ENV, [name]: '0' })).toEqual([name]);
    expect(readConfig({ ...ENV, OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318', [name]: '1' }).tracing).toBeDefined();
  });

  test.each([',', ' ', ' , ,'])('when the list of secrets is %j, which holds none', (WEBHOOK_HMAC_SECRETS) => {
    expect(complaints({ ...ENV, WEBHOOK_HMAC_SECRETS })).toEqual(['WEBHOOK_HMAC_SECRETS']);
  });

  test.each(['whsec_!!', 'whsec_abc', 'whsec_not-base64-at-all', `whsec_${Buffer.alloc(7).toString('base64')}`])(
    'when %s decodes to a key that can be guessed, or to none',
    (secret) => {
      expect(complaints({ ...ENV, WEBHOOK_HMAC_SECRETS: `a-shared-secret,${secret}` })).toEqual(['WEBHOOK_HMAC_SECRETS']);
      expect(complaints({ ...ENV, NOTIFY_WEBHOOK_URL: 'https://example.com', NOTIFY_WEBHOOK_SECRET: secret })).toEqual([
        'NOTIFY_WEBHOOK_SECRET',
      ]);
    },
  );

  test('but not for a whsec_ secret as Standard Webhooks issues them', () => {
    const secret = `whsec_${Buffer.alloc(24, 7).toString('base64')}`;
    expect(readConfig({ ...ENV, WEBHOOK_HMAC_SECRETS: secret }).webhook.hmacSecrets).toEqual([secret]);
  });
});

test('no value is repeated in what is told: many are secrets', () => {
  const names = [
    ...Object.keys(ENV),
    'STRIPE_API_BASE',
    'STRIPE_WEBHOOK_SECRETS',
    'WEBHOOK_URL_TOKENS',
    'PORT',
    'PUBLIC_URL',
    'LOG_LEVEL',
    'NOTIFY_WEBHOOK_URL',
    'NOTIFY_WEBHOOK_SECRET',
    'OUTBOUND_ALLOW_PRIVATE',
    'TEMPORAL_API_KEY',
    'TEMPORAL_ADDRESS',
    'TEMPORAL_TLS_CLIENT_KEY_DATA',
    'TEMPORAL_TLS_CLIENT_CERT_DATA',
  ];
  // The first forms are accepted by some variables, the others by none.
  const values = fc.constantFrom('', 'whsec_', 'sk_live_', 'postgres://u:', 'http://u:').map((prefix) => `${prefix}Zq7Zq7Zq7@host`);
  const environments = fc.record(Object.fromEntries(names.map((name) => [name, fc.option(values, { nil: undefined })])));
  fc.assert(
    fc.property(environments, (env) => {
      const { message, problems, stack } = errorOf({ ...env, TEMPORAL_TLS_CLIENT_KEY_PATH: '/key.pem', PORT: 'Zq7' });
      expect(`${message} ${problems.join()} ${stack}`).not.toContain('Zq7');
    }),
  );
});
