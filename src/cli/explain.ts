/** An error that no command has thrown itself, as a sentence that names the system, the setting and the next step. Loaded only when a command fails. */
import { ConfigError } from '../config.ts';
import { ConnectionUrlError } from '../database/connection-url.ts';
import { describeDatabaseError, isDatabaseError, isTlsRefused } from '../database/errors.ts';
import { UnknownNameError } from '../database/names.ts';
import { whyUnreachable } from '../domain/unreachable.ts';
import { KmsError } from '../kms/errors.ts';
import { PaymentsError } from '../payments/errors.ts';
import { grpcErrorIn, TemporalError } from '../temporal/errors.ts';
import { EXIT, type ExitCode } from './exit.ts';

export function explain(error: unknown): { message: string; exitCode: ExitCode } {
  const { message } = error as Error;
  if (error instanceof ConfigError || error instanceof ConnectionUrlError || isTlsRefused(error))
    return { message, exitCode: EXIT.settings };
  if (error instanceof UnknownNameError) return { message, exitCode: EXIT.usage };
  if (error instanceof TemporalError) return { message, exitCode: EXIT.fault };
  if (error instanceof KmsError)
    return { message: `${message}: bill doctor checks LiteLLM, KMS_BASE_URL and KMS_API_KEY`, exitCode: EXIT.fault };
  if (error instanceof PaymentsError)
    return { message: `${message}: bill doctor checks Stripe, STRIPE_API_BASE and STRIPE_SECRET_KEY`, exitCode: EXIT.fault };
  if (isListenError(error))
    return { message: `the API cannot listen (${message}): end what listens there, or set HOST and PORT`, exitCode: EXIT.fault };
  const ofTemporal = grpcErrorIn(error);
  if (ofTemporal) {
    return {
      message: `Temporal: ${whyUnreachable(error) ?? ofTemporal.details} (TEMPORAL_ADDRESS): bill doctor checks it`,
      exitCode: EXIT.fault,
    };
  }
  if (isDatabaseError(error)) return { message: describeDatabaseError(error), exitCode: EXIT.fault };
  return { message: message || String(error), exitCode: EXIT.fault };
}

function isListenError(error: unknown): boolean {
  return (error as { syscall?: unknown }).syscall === 'listen';
}
