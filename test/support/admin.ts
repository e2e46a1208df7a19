/** What the admin API answers when something is wrong, and organizations that tests make with it. */
import { expect } from '@jest/globals';
import type { AxiosResponse } from 'axios';
import { SOME_CUSTOMER, type World } from './world.ts';

export const ORGANIZATIONS = '/api/v1/organizations';

/** The answer is a problem of this kind; what is wrong with which field is told where fields are expected. */
export function expectProblem(
  { status, headers, data }: AxiosResponse,
  [wanted, kind]: readonly [number, string],
  fields?: string[],
): void {
  expect({ status, data }).toMatchObject({
    status: wanted,
    data: { type: `urn:bill-service:problem:${kind}`, title: expect.any(String), status: wanted, detail: expect.any(String) },
  });
  expect(headers['content-type']).toMatch(/^application\/problem\+json/);
  if (fields) expect(data.errors.map(({ field }: { field: string }) => field).sort()).toEqual([...fields].sort());
}
export const MALFORMED = [400, 'malformed'] as const;
export const UNAUTHENTICATED = [401, 'unauthenticated'] as const;
export const NOT_FOUND = [404, 'not-found'] as const;
export const CONFLICT = [409, 'conflict'] as const;
export const TOO_LARGE = [413, 'too-large'] as const;
export const INVALID = [422, 'invalid'] as const;

let serial = 0;
/** A body that creates an organization whose team is still to be made, until something is wrong with it. */
export function draft(changes: Record<string, unknown> = {}): Record<string, unknown> {
  const id = `draft-${++serial}`;
  return {
    c_organization_id: id,
    stripe_customer_id: SOME_CUSTOMER,
    litellm_team_id: `team-of-${id}`,
    minimum_balance: '2.00',
    target_balance: '20.00',
    create_team: true,
    ...changes,
  };
}

/** Creates an organization; returns its id. */
export async function created(world: World, changes: Record<string, unknown> = {}): Promise<string> {
  const { status, data } = await world.admin.post(ORGANIZATIONS, draft(changes));
  expect(status).toBe(201);
  return data.c_organization_id;
}

export async function tableCounts(world: World): Promise<object> {
  const { rows } = await world.sql.query(
    'select (select count(*) from organization_balance_config) as organizations, (select count(*) from recharge) as recharges',
  );
  return rows[0];
}
