import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { Ajv } from 'ajv';
import { parse } from 'yaml';

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

type Service = {
  image: string;
  build?: string;
  command?: string[];
  environment?: Record<string, string>;
  depends_on?: Record<string, { condition: string }>;
  healthcheck?: { disable?: boolean; test?: string[] };
  ports?: string[];
  volumes?: string[];
  restart?: string;
  logging?: { driver: string; options: Record<string, string> };
  profiles?: string[];
  entrypoint?: string[];
};

const text = read('docker-compose.yml');
const compose: { name: string; services: Record<string, Service>; volumes: Record<string, unknown> } = parse(text, { merge: true });
const services = Object.entries(compose.services);
const ours = services.filter(([, { build }]) => build);

/** Every `${NAME…}` that Compose replaces, with what follows the name. */
const references = [...text.matchAll(/(?<!\$)\$\{(\w+)([^}]*)\}/g)].map(([, name = '', rest = '']) => ({ name, rest }));

/** Every variable of .env.example: those with a line of their own, set or commented out. */
const example = [...read('.env.example').matchAll(/^(#?)([A-Z][A-Z0-9_]*)=(.*)$/gm)].map(([, comment, name = '', value = '']) => ({
  name,
  value,
  required: comment === '',
}));
const known = example.map(({ name }) => name);

const isSecret = (name: string) => /PASSWORD|_KEY$|SECRET|TOKEN/.test(name);

describe('docker-compose.yml', () => {
  it('is what the Compose Specification allows', () => {
    // It names an old dialect and gives ids in the manner of a still older one; what it uses otherwise is
    // what Ajv knows.
    const schema = JSON.parse(read('test/fixtures/compose-spec.json'), (key, value) =>
      ['$schema', 'id'].includes(key) && typeof value === 'string' ? undefined : value,
    );
    const ajv = new Ajv({ strict: false, allErrors: true });
    ajv.addFormat('duration', /^(\d+(us|ms|s|m|h))+$/); // not that of ISO 8601
    for (const format of ['expose', 'ports', 'subnet_ip_address', 'uri']) ajv.addFormat(format, true);
    const validate = ajv.compile(schema);
    const { name: _newerThanTheSchema, ...rest } = compose;
    validate(rest);
    expect(validate.errors).toBeNull();
    expect(validate({ services: { api: { imaje: 'x' } } })).toBe(false); // the schema is whole: it refuses what it does not know
  });

  it.each(services)('%s has an image pinned by a tag', (_name, { image }) => {
    expect(image).toMatch(/^[\w./-]+:v?\d+(\.\d+)+$/);
  });

  it.each(services)('%s waits only for services that exist, in a state that they reach', (_name, { depends_on = {} }) => {
    for (const [target, { condition }] of Object.entries(depends_on)) {
      const service = compose.services[target];
      expect([target, service]).not.toEqual([target, undefined]);
      if (condition === 'service_healthy') expect([target, service?.healthcheck?.test]).not.toEqual([target, undefined]);
      if (condition === 'service_completed_successfully') expect(service?.restart).toMatch(/^on-failure:\d+$/);
    }
  });

  it.each(services)('%s is reached from this machine only', (_name, { ports = [] }) => {
    for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:\$\{HOST_PORT_\w+:-\d+\}:\d+$/);
  });

  it('has a port of this machine for each server, each with a setting of its own', () => {
    const ports = services.flatMap(([, { ports = [] }]) => ports);
    const names = ports.flatMap((port) => [...port.matchAll(/HOST_PORT_\w+/g)].map(([name]) => name));
    expect(new Set(names).size).toBe(ports.length);
    const defaults = new Map(example.map(({ name, value }) => [name, value]));
    for (const { name, rest } of references.filter(({ name: each }) => each.startsWith('HOST_PORT_'))) {
      expect([name, rest]).toEqual([name, `:-${defaults.get(name)}`]);
    }
  });

  it.each(services)('%s keeps a bounded log', (_name, { logging }) => {
    expect(logging?.options).toEqual({ 'max-size': expect.stringMatching(/^\d+m$/), 'max-file': expect.stringMatching(/^\d+$/) });
  });

  it('runs the command line beside the service, at its own address, and only when it is asked for', () => {
    const { profiles, entrypoint, environment, restart } = compose.services['bill'] ?? {};
    expect({ profiles, entrypoint, restart }).toEqual({ profiles: ['tools'], entrypoint: ['node', 'src/cli/main.ts'], restart: 'no' });
    expect(environment).toEqual({ ...compose.services['api']?.environment, PUBLIC_URL: 'http://api:8080' });
  });

  it('asks Temporal whether a worker polls', () => {
    const { command = [], healthcheck } = compose.services['worker'] ?? {};
    expect(healthcheck?.test).toEqual(['CMD', ...command, '--check']);
  });

  it.each(services)('%s mounts files of this repository and volumes that exist', (_name, { volumes = [] }) => {
    for (const volume of volumes) {
      const [source = '', , mode] = volume.split(':');
      if (source.startsWith('./')) expect([source, mode]).toEqual([source, 'ro']);
      else expect(Object.keys(compose.volumes)).toContain(source);
    }
  });

  it.each(ours)('%s gets only variables that .env.example explains', (_name, { environment = {} }) => {
    for (const variable of Object.keys(environment)) expect(known).toContain(variable);
  });

  it('takes only variables that .env.example explains', () => {
    for (const { name } of references) expect(known).toContain(name);
  });

  it('asks for each secret that it cannot do without, and has none of its own', () => {
    for (const { name, rest } of references.filter(({ name }) => isSecret(name))) {
      expect([name, rest]).toEqual([name, expect.stringMatching(/^:(\?.+|-)$/)]);
    }
    const required = new Set(references.filter(({ rest }) => rest.startsWith(':?')).map(({ name }) => name));
    expect([...required].sort()).toEqual(
      example
        .filter((variable) => variable.required)
        .map(({ name }) => name)
        .sort(),
    );
    for (const [, { environment = {} }] of services) {
      for (const [name, value] of Object.entries(environment).filter(([name]) => isSecret(name))) {
        expect([name, value]).toEqual([name, expect.stringMatching(/^\$\{/)]);
      }
    }
  });
});

describe('.env.example', () => {
  it('holds no secret', () => {
    for (const { name, value } of example.filter(({ name }) => isSecret(name))) expect([name, value]).toEqual([name, '']);
  });

  it('names each variable once', () => {
    expect(known).toEqual([...new Set(known)]);
  });
});

describe('the LiteLLM of Compose', () => {
  const { general_settings, litellm_settings } = parse(read('deploy/litellm/config.yaml'));

  it('sends the budget webhook, which it does only with a second alerting channel listed', () => {
    expect(general_settings.alerting).toEqual(expect.arrayContaining(['webhook', 'slack']));
    expect(compose.services['litellm']?.environment?.['WEBHOOK_URL']).toContain(
      '/webhooks/litellm/limit-exceeded?token=${LITELLM_WEBHOOK_TOKEN',
    );
  });

  it('loads the callback from beside its config, which signs with a secret that the service accepts', () => {
    const { volumes = [], environment = {} } = compose.services['litellm'] ?? {};
    expect(litellm_settings.callbacks).toEqual(['bill_service_callback.handler']);
    expect(volumes).toContain('./integrations/litellm/bill_service_callback.py:/etc/litellm/bill_service_callback.py:ro');
    expect(environment).toMatchObject({ BILL_SERVICE_URL: 'http://api:8080', BILL_SERVICE_WEBHOOK_SECRET: expect.any(String) });
    expect(compose.services['api']?.environment?.['WEBHOOK_HMAC_SECRETS']).toContain(environment['BILL_SERVICE_WEBHOOK_SECRET']);
  });

  it('sends it again soon, so that a second crossing on the same day is seen', () => {
    expect(general_settings.alerting_args.budget_alert_ttl).toBe(60);
  });
});

describe('Dockerfile', () => {
  const dockerfile = read('Dockerfile');

  it('pins Node to the version that the tests run with', () => {
    const { dependencies } = JSON.parse(read('package.json'));
    const images = [...dockerfile.matchAll(/^FROM (\S+)/gm)].map(([, image]) => image);
    expect(new Set(images)).toEqual(new Set([`node:${dependencies.node}-slim`]));
  });

  it('does not run as root', () => {
    expect(dockerfile).toMatch(/^USER node$/m);
  });

  it('copies only what .dockerignore lets through', () => {
    const allowed = [...read('.dockerignore').matchAll(/^!(.+)$/gm)].map(([, path]) => path);
    for (const [, paths = ''] of dockerfile.matchAll(/^COPY (?!--)(.+) \S+$/gm)) {
      for (const path of paths.split(' ')) expect(allowed).toContain(path);
    }
  });
});
