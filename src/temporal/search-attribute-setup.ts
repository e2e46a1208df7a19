/**
 * Registers the search attributes in the namespace, for `bill migrate`. A namespace may not let us, or have no room;
 * runs then start without those that it lacks (`startShowing`).
 */
import { type Client, isGrpcServiceError } from '@temporalio/client';
import { SearchAttributeType } from '@temporalio/common';
import { amountMinorKey, organizationIdKey, rechargeSourceKey, rechargeStatusKey, teamIdKey } from './search-attributes.ts';

const KEYS = [organizationIdKey, teamIdKey, rechargeStatusKey, rechargeSourceKey, amountMinorKey];

// temporal.api.enums.v1.IndexedValueType
const INDEXED_VALUE_TYPE: Readonly<Partial<Record<SearchAttributeType, number>>> = {
  [SearchAttributeType.KEYWORD]: 2,
  [SearchAttributeType.INT]: 3,
};
const TYPE_NAMES: readonly string[] = ['Unspecified', 'Text', 'Keyword', 'Int', 'Double', 'Bool', 'Datetime', 'KeywordList'];

/** What a namespace answers that does not let us, or that has no room. Another failure is one of Temporal's. */
const REFUSALS: readonly number[] = [
  3, // INVALID_ARGUMENT
  7, // PERMISSION_DENIED
  8, // RESOURCE_EXHAUSTED
  9, // FAILED_PRECONDITION
  12, // UNIMPLEMENTED
];
const ALREADY_EXISTS = 6;

/** One that runs cannot have. `why` goes on behind its name. `type`: what to make, where it is missing. */
export type LackingAttribute = { name: string; why: string; type?: number };
/** `refusal`: why the namespace does not show what it has. */
export type SeenAttributes = { lacking: LackingAttribute[]; refusal?: string };

/** What the namespace lacks, or has with another type. @throws when Temporal cannot be reached. */
export async function lackingSearchAttributes({ connection }: Client, namespace: string): Promise<SeenAttributes> {
  try {
    const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
    const lacking = KEYS.flatMap(({ name, type }) => {
      const wanted = INDEXED_VALUE_TYPE[type] as number;
      const seen = customAttributes?.[name];
      if (seen === wanted) return [];
      return seen ? { name, why: `is ${TYPE_NAMES[seen]}, not ${TYPE_NAMES[wanted]}` } : { name, why: 'is missing', type: wanted };
    });
    return { lacking };
  } catch (error) {
    return { lacking: [], refusal: refusalOf(error) };
  }
}

/**
 * Adds the missing ones, each by itself, and returns the names of those that were added, and what is lacking then.
 * Idempotent. @throws when Temporal cannot be reached.
 */
export async function registerSearchAttributes(client: Client, namespace: string): Promise<SeenAttributes & { added: string[] }> {
  const before = await lackingSearchAttributes(client, namespace);
  const added: string[] = [];
  const lacking = before.lacking.filter(({ type }) => type === undefined);
  for (const { name, type } of before.lacking) {
    if (type === undefined) continue;
    try {
      await client.connection.operatorService.addSearchAttributes({ namespace, searchAttributes: { [name]: type } });
      added.push(name);
    } catch (error) {
      if (isGrpcServiceError(error) && error.code === ALREADY_EXISTS) continue; // by another `bill migrate`
      lacking.push({ name, why: `is missing and cannot be made: ${refusalOf(error)}` });
    }
  }
  return { ...before, added, lacking };
}

/** @throws the error itself where it is none of the namespace's refusals. */
function refusalOf(error: unknown): string {
  if (!isGrpcServiceError(error) || !REFUSALS.includes(error.code)) throw error;
  return error.details;
}
