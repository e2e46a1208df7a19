/** Registers the search attributes in the namespace, for `bill migrate`. */
import type { Client } from '@temporalio/client';
import { SearchAttributeType } from '@temporalio/common';
import { amountMinorKey, organizationIdKey, rechargeSourceKey, rechargeStatusKey, teamIdKey } from './search-attributes.ts';

// temporal.api.enums.v1.IndexedValueType
const INDEXED_VALUE_TYPE: Readonly<Partial<Record<SearchAttributeType, number>>> = {
  [SearchAttributeType.KEYWORD]: 2,
  [SearchAttributeType.INT]: 3,
};

/**
 * Adds the missing ones and returns their names. Idempotent. @throws when the caller may not administer the
 * namespace.
 */
export async function registerSearchAttributes(client: Client, namespace: string): Promise<string[]> {
  const missing = await missingKeys(client, namespace);
  if (missing.length > 0) {
    await client.connection.operatorService.addSearchAttributes({
      namespace,
      searchAttributes: Object.fromEntries(missing.map(({ name, type }) => [name, INDEXED_VALUE_TYPE[type] as number])),
    });
  }
  return missing.map(({ name }) => name);
}

/** Names of the search attributes that the namespace lacks. */
export async function missingSearchAttributes(client: Client, namespace: string): Promise<string[]> {
  return (await missingKeys(client, namespace)).map(({ name }) => name);
}

async function missingKeys({ connection }: Client, namespace: string) {
  const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
  const keys = [organizationIdKey, teamIdKey, rechargeStatusKey, rechargeSourceKey, amountMinorKey];
  return keys.filter(({ name }) => !(name in (customAttributes ?? {})));
}
