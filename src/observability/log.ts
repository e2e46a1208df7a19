/** Structured logs: one JSON object a line on standard output, or wherever `destination` goes. */
import { type DestinationStream, type Logger, pino } from 'pino';

export type { Logger } from 'pino';

/** Fields that never reach a log, wherever they come from. */
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
