/**
 * `DATABASE_URL` as libpq reads it. Every parameter is honoured or refused: one that is taken and not heeded
 * would be worse than none, above all `sslmode`.
 */
import { readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import type { ConnectionOptions } from 'node:tls';
import type { ClientConfig } from 'pg';
import { z } from 'zod';

/**
 * How the server is proven, as in https://www.postgresql.org/docs/current/libpq-ssl.html. `prefer` and
 * `allow` are left out: they go on in plain text without a word when the server offers no TLS.
 */
export const SSL_MODES = ['disable', 'require', 'verify-ca', 'verify-full'] as const;
export type SslMode = (typeof SSL_MODES)[number];

export type DatabaseConnection = Readonly<{
  sslMode: SslMode;
  /** A directory of Unix sockets where it begins with a slash. */
  host: string;
  port: number;
  user: string;
  /** Empty: `PGPASSWORD`, or none. */
  password: string;
  database: string;
  /** Of the TLS connection; false: plain text. */
  ssl: ConnectionOptions | false;
  applicationName: string;
  /** Command-line options of the server's session, such as `-c search_path=bill`. */
  options: string | undefined;
  /** How long a statement waits for a connection: for a free one of the pool, or until a new one is made. */
  connectTimeoutMs: number;
}>;

/** Everything that is wrong with the address, a sentence each. Values are left out: some are secrets. */
export class ConnectionUrlError extends Error {
  override name = 'ConnectionUrlError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(`DATABASE_URL ${problems.join('; ')}`);
    this.problems = problems;
  }
}

const APPLICATION_NAME = 'bill-service';
const CONNECT_TIMEOUT_S = 5;
const MAX_CONNECT_TIMEOUT_S = 600;
const DEFAULT_PORT = 5432;
/** The authorities that Node.js trusts. */
const SYSTEM_AUTHORITIES = 'system';

const sslModes = SSL_MODES.join(', ');
const mode = z.enum(SSL_MODES, {
  error: ({ input }) =>
    input === 'prefer' || input === 'allow'
      ? `has sslmode=${input}, which goes on in plain text where the server offers no TLS: set it to one of ${sslModes}`
      : `has an sslmode that is none of ${sslModes}`,
});
const text = (name: string) => z.string().min(1, `has an empty ${name}`);
const only = (name: string, value: string, why: string) => z.literal(value, { error: `has a ${name} that is not ${value}: ${why}` });

const parameters = z.strictObject({
  sslmode: mode.optional(),
  ssl: only('ssl', 'true', 'set sslmode instead').optional(),
  sslrootcert: text('sslrootcert').optional(),
  sslcert: text('sslcert').optional(),
  sslkey: text('sslkey').optional(),
  sslpassword: text('sslpassword').optional(),
  sslnegotiation: only('sslnegotiation', 'postgres', 'nothing else is supported').optional(),
  channel_binding: only('channel_binding', 'disable', 'it is not supported; sslmode=verify-full proves the server').optional(),
  gssencmode: only('gssencmode', 'disable', 'GSSAPI is not supported').optional(),
  target_session_attrs: only('target_session_attrs', 'any', 'one server is connected to').optional(),
  host: text('host').optional(),
  port: text('port').optional(),
  user: text('user').optional(),
  password: z.string().optional(),
  dbname: text('dbname').optional(),
  application_name: text('application_name').optional(),
  options: text('options').optional(),
  connect_timeout: z
    .string()
    .regex(/^[1-9]\d{0,2}$/, `has a connect_timeout that is not a whole number of seconds from 1 to ${MAX_CONNECT_TIMEOUT_S}`)
    .transform(Number)
    .refine((seconds) => seconds <= MAX_CONNECT_TIMEOUT_S, `has a connect_timeout above ${MAX_CONNECT_TIMEOUT_S} seconds`)
    .default(CONNECT_TIMEOUT_S),
});
type Parameters = z.output<typeof parameters>;

/** What libpq reads too where the address does not say it. */
type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads the address, and the certificates that it names.
 *
 * @throws ConnectionUrlError naming each parameter that cannot be honoured.
 */
export function readConnectionUrl(address: string, env: Environment = process.env): DatabaseConnection {
  const url = parse(address);
  const given = parametersOf(url, env);
  const host = given.host ?? (decode(url.hostname.replace(/^\[(.+)\]$/, '$1')) || env['PGHOST'] || 'localhost');
  if (host.includes(',')) throw new ConnectionUrlError(['names several hosts: only one server is connected to']);
  const sslMode = sslModeOf(given, host);
  const user = given.user ?? (decode(url.username) || env['PGUSER'] || userInfo().username);
  return {
    sslMode,
    host,
    port: portOf(given.port ?? (url.port || env['PGPORT'] || String(DEFAULT_PORT))),
    user,
    password: given.password ?? decode(url.password),
    database: given.dbname ?? (decode(url.pathname.slice(1)) || env['PGDATABASE'] || user),
    ssl: sslMode === 'disable' ? false : tlsOf(sslMode, given),
    applicationName: given.application_name ?? APPLICATION_NAME,
    options: given.options,
    connectTimeoutMs: given.connect_timeout * 1000,
  };
}

/** For a client of pg. */
export function clientConfig(connection: DatabaseConnection): ClientConfig {
  const { host, port, user, password, database, ssl, applicationName, options, connectTimeoutMs } = connection;
  return {
    host,
    port,
    user,
    password,
    database,
    ssl,
    application_name: applicationName,
    ...(options !== undefined && { options }),
    connectionTimeoutMillis: connectTimeoutMs,
    keepAlive: true,
  };
}

function parse(address: string): URL {
  // libpq lets the host be empty behind a user, and take it from a parameter. A URL does not.
  const parsed = URL.parse(address) ?? URL.parse(address.replace('@/', '@localhost/'));
  if (!parsed) throw new ConnectionUrlError(['is not an address like postgres://user:password@host:5432/bill']);
  return parsed;
}

function parametersOf(url: URL, env: Environment): Parameters {
  const names = [...url.searchParams.keys()];
  const twice = names.filter((name, index) => names.indexOf(name) !== index);
  if (twice.length > 0) throw new ConnectionUrlError([`has a parameter twice: ${twice.map(shown).join(', ')}`]);
  const given = Object.fromEntries(url.searchParams);
  const isSslGiven = 'sslmode' in given || 'ssl' in given;
  const parsed = parameters.safeParse({
    ...(!isSslGiven && env['PGSSLMODE'] && { sslmode: env['PGSSLMODE'] }),
    ...(env['PGSSLROOTCERT'] && !isSslGiven && env['PGSSLMODE'] && { sslrootcert: env['PGSSLROOTCERT'] }),
    ...given,
  });
  if (parsed.success) return parsed.data;
  throw new ConnectionUrlError(
    parsed.error.issues.flatMap((issue) =>
      issue.code === 'unrecognized_keys'
        ? issue.keys.map((key) => `has a parameter that is not supported: ${shown(key)}. Remove it`)
        : [issue.message],
    ),
  );
}

/** What follows a question mark in a password that is not escaped is no name of a parameter. */
function shown(name: string): string {
  return /^[a-z_]{1,40}$/i.test(name) ? name : 'one that is no name (escape a ? in the password as %3F)';
}

function sslModeOf({ sslmode, ssl, sslrootcert, sslcert, sslkey }: Parameters, host: string): SslMode {
  const asked = sslmode ?? (ssl ? 'require' : 'disable');
  const isEncrypted = asked !== 'disable';
  if (isEncrypted && host.startsWith('/')) {
    throw new ConnectionUrlError([`has sslmode=${asked}, and a Unix socket as its host, which has no TLS: remove sslmode`]);
  }
  if (!isEncrypted && (sslrootcert || sslcert || sslkey)) {
    throw new ConnectionUrlError(['has sslrootcert, sslcert or sslkey, and no sslmode that encrypts: add sslmode=verify-full']);
  }
  // libpq would look for ~/.postgresql/root.crt. Any server with a certificate of any authority would do here.
  if (asked === 'verify-ca' && (sslrootcert === undefined || sslrootcert === SYSTEM_AUTHORITIES)) {
    throw new ConnectionUrlError(['has sslmode=verify-ca, and no sslrootcert with the certificate of your authority']);
  }
  if (asked === 'require' && sslrootcert === SYSTEM_AUTHORITIES) {
    throw new ConnectionUrlError(['has sslrootcert=system, which needs sslmode=verify-full']);
  }
  // As libpq: an authority that is named is asked.
  return asked === 'require' && sslrootcert ? 'verify-ca' : asked;
}

function tlsOf(sslMode: SslMode, { sslrootcert, sslcert, sslkey, sslpassword }: Parameters): ConnectionOptions {
  if ((sslcert === undefined) !== (sslkey === undefined)) throw new ConnectionUrlError(['has one of sslcert and sslkey without the other']);
  return {
    rejectUnauthorized: sslMode !== 'require',
    ...(sslMode === 'verify-ca' && { checkServerIdentity: () => undefined }),
    ...(sslrootcert && sslrootcert !== SYSTEM_AUTHORITIES && { ca: fileOf('sslrootcert', sslrootcert) }),
    ...(sslcert && { cert: fileOf('sslcert', sslcert) }),
    ...(sslkey && { key: fileOf('sslkey', sslkey) }),
    ...(sslpassword && { passphrase: sslpassword }),
  };
}

function fileOf(parameter: string, path: string): string {
  try {
    const pem = readFileSync(path, 'utf8');
    if (pem.includes('-----BEGIN ')) return pem;
  } catch (error) {
    throw new ConnectionUrlError([`has an ${parameter} that cannot be read (${(error as NodeJS.ErrnoException).code})`]);
  }
  throw new ConnectionUrlError([`has an ${parameter} that is not PEM`]);
}

function portOf(port: string): number {
  if (/^\d{1,5}$/.test(port) && Number(port) >= 1 && Number(port) <= 65535) return Number(port);
  throw new ConnectionUrlError(['has a port that is not a number from 1 to 65535']);
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new ConnectionUrlError(['holds a % that escapes nothing: write it as %25']);
  }
}
