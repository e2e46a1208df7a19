/** Structured logs: one JSON object a line, to standard output or to `destination`. */
import { type DestinationStream, type Logger, pino } from 'pino';

export type { Logger } from 'pino';

/** Fields that are redacted in every log line. */
const SECRET_FIELDS = [
  'authorization',
  'headers.authorization',
  'token',
  'secret',
  'api_key',
  '*.authorization',
  '*.token',
  '*.secret',
  '*.api_key',
];

export function createLogger(level: string, destination?: DestinationStream): Logger {
  const options = { level, base: null, timestamp: pino.stdTimeFunctions.isoTime, redact: SECRET_FIELDS };
  return destination ? pino(options, destination) : pino(options);
}
