/** An error of Temporal for a person: which system, which setting, what to do next. */

import { NamespaceNotFoundError } from '@temporalio/common';
import type { TemporalConfig } from '../config.ts';
import { whyUnreachable } from '../domain/unreachable.ts';
import { addressOf, namespaceOf } from './connection.ts';

/** Temporal cannot be used as it is set. The message is for a person. */
export class TemporalError extends Error {
  override name = 'TemporalError';
}

// gRPC
const DEADLINE_EXCEEDED = 4;
const NOT_FOUND = 5;
const PERMISSION_DENIED = 7;
const UNAVAILABLE = 14;
const UNAUTHENTICATED = 16;

/** The error as a TemporalError where its cause is the way to Temporal or our rights there; any other error as it is. */
export function temporalErrorOf(error: unknown, temporal: TemporalConfig): unknown {
  const { code, details = '' } = grpcErrorIn(error) ?? {};
  const address = addressOf(temporal);
  const namespace = namespaceOf(temporal);
  const noNamespace = () =>
    new TemporalError(`Temporal at ${address} has no namespace ${namespace}: make it, or correct TEMPORAL_NAMESPACE`);
  if (error instanceof NamespaceNotFoundError) return noNamespace();
  switch (code) {
    case UNAVAILABLE:
    case DEADLINE_EXCEEDED:
      return new TemporalError(
        `Temporal cannot be reached at ${address} (${reasonIn(details)}): start it, or correct TEMPORAL_ADDRESS; bill doctor checks it`,
      );
    case NOT_FOUND:
      if (!/namespace/i.test(details)) return error;
      return noNamespace();
    case PERMISSION_DENIED:
    case UNAUTHENTICATED:
      return new TemporalError(
        `Temporal at ${address} refuses us in the namespace ${namespace} (${details}): correct TEMPORAL_API_KEY or TEMPORAL_TLS_…`,
      );
    default:
      return error;
  }
}

function reasonIn(details: string): string {
  const [, name] = /^Name resolution failed for target (?:dns:)?(\S+)/.exec(details) ?? [];
  if (name) return `the name ${name} is not known`;
  return whyUnreachable(new Error(details)) ?? 'no answer';
}

/** Temporal's own answer: the SDK wraps that of some calls in an error which says only what was tried. */
export function grpcErrorIn(error: unknown): { code: number; details: string } | undefined {
  for (let each = error as { code?: unknown; details?: unknown; cause?: unknown } | undefined; each; each = each.cause as typeof each) {
    if (typeof each.code === 'number' && typeof each.details === 'string') return { code: each.code, details: each.details };
  }
  return undefined;
}
