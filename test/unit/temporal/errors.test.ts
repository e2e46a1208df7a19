/** What a failure of Temporal is for a person: the setting to look at, and no word of gRPC. */
import { expect, test } from '@jest/globals';
import { NamespaceNotFoundError } from '@temporalio/common';
import type { TemporalConfig } from '../../../src/config.ts';
import { TemporalError, temporalErrorOf } from '../../../src/temporal/errors.ts';

const temporal = {
  connect: { connectionOptions: { address: 'temporal:7233' }, namespace: 'billing' },
  taskQueue: 'q',
  uiUrl: undefined,
} as unknown as TemporalConfig;
const grpc = (code: number, details: string) =>
  Object.assign(new Error(`${code} UNAVAILABLE: ${details}`), { code, details, metadata: {} });
const noConnection = 'No connection established. Last error: Error: connect ECONNREFUSED 10.0.0.1:7233. Resolution note: ';

test.each<[number, string, RegExp]>([
  [
    14,
    noConnection,
    /^Temporal cannot be reached at temporal:7233 \(nothing listens at 10\.0\.0\.1:7233\): start it, or correct TEMPORAL_ADDRESS/,
  ],
  [14, 'Name resolution failed for target dns:temporal:7233', /\(the name temporal:7233 is not known\)/],
  [4, 'Deadline exceeded', /^Temporal cannot be reached at temporal:7233 \(no answer\)/],
  [5, 'Namespace billing is not found.', /has no namespace billing: .*TEMPORAL_NAMESPACE/],
  [7, 'Request unauthorized.', /refuses us in the namespace billing \(Request unauthorized\.\): correct TEMPORAL_API_KEY/],
  [16, 'no key', /TEMPORAL_API_KEY/],
])('code %d, also within an error of the SDK: %s', (code, details, said) => {
  for (const error of [grpc(code, details), new Error('Failed to start Workflow', { cause: grpc(code, details) })]) {
    const found = temporalErrorOf(error, temporal) as Error;
    expect(found).toBeInstanceOf(TemporalError);
    expect(found.message).toMatch(said);
    expect(found.message).not.toMatch(/UNAVAILABLE|ECONNREFUSED|Resolution note/);
  }
});

test('a namespace that is not there, as the SDK says it for a start', () => {
  expect((temporalErrorOf(new NamespaceNotFoundError('billing'), temporal) as Error).message).toMatch(
    /^Temporal at temporal:7233 has no namespace billing: make it, or correct TEMPORAL_NAMESPACE$/,
  );
});

test.each([grpc(5, 'workflow not found'), grpc(3, 'bad request'), new Error('boom'), undefined])('%s stays as it is', (error) => {
  expect(temporalErrorOf(error, temporal)).toBe(error);
});
