/** Temporal: whether it can be reached, has what `bill migrate` makes, and what domain/status says of it. */
import type { Client } from '@temporalio/client';
import type { TemporalConfig } from '../../config.ts';
import { withDeadline } from '../../deadline.ts';
import { type ServiceLine, temporalLines } from '../../domain/service-status.ts';
import { namespaceOf } from '../../temporal/connection.ts';
import { temporalFacts } from '../../temporal/facts.ts';
import { lackingSearchAttributes } from '../../temporal/search-attribute-setup.ts';
import { change, LOOK_DEADLINE_MS, note, type Observation, type Reading, runCheck } from './reading.ts';

const AREA = 'Temporal';
/** Where it has just answered about the namespace. */
const ADVICE_ON_SILENCE = 'run bill doctor again; if it stays, look at what keeps Temporal and its database busy';

export async function examineTemporal(client: Client, temporal: TemporalConfig): Promise<Reading[]> {
  const namespace = namespaceOf(temporal);
  const reached = await runCheck(
    { area: AREA, check: 'namespace', advice: 'set TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE (TEMPORAL_API_KEY for Temporal Cloud)' },
    async () => {
      await client.workflowService.describeNamespace({ namespace });
      return `${namespace} is there`;
    },
  );
  if (reached.verdict !== 'ok') return [reached];
  return [
    reached,
    await runCheck({ area: AREA, check: 'search attributes', advice: 'run: bill migrate' }, () =>
      examineSearchAttributes(client, namespace),
    ),
    ...(await withDeadline(temporalFacts(client, temporal), LOOK_DEADLINE_MS).then(
      (facts) => temporalLines(facts, new Date()).map(readingOf),
      async (error) => [
        await runCheck({ area: AREA, check: 'workers and schedules', advice: ADVICE_ON_SILENCE }, () => Promise.reject(error)),
      ],
    )),
  ];
}

function readingOf({ check, isFine, seen, next }: ServiceLine): Reading {
  return { area: AREA, check, verdict: isFine ? 'ok' : 'change', seen, advice: next };
}

async function examineSearchAttributes(client: Client, namespace: string): Promise<Observation> {
  const { lacking, refusal } = await lackingSearchAttributes(client, namespace);
  if (refusal !== undefined) {
    return note(`the namespace does not show them: ${refusal}`, 'look there for those of the README: runs do without what is missing');
  }
  if (lacking.length === 0) return 'registered';
  const isAnotherType = lacking.some(({ type }) => type === undefined);
  const remove = 'remove the one of another type (temporal operator search-attribute remove), then ';
  return change(
    `runs do without ${lacking.map(({ name, why }) => `${name}, which ${why}`).join('; ')}`,
    `${isAnotherType ? remove : ''}run: bill migrate, with an account that may administer the namespace`,
  );
}
