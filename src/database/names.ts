/**
 * Names that a person filters by. A name that nothing has is a typing mistake, and an empty list would hide it: it is
 * refused, with the names that exist.
 */
import { shortList } from '../domain/short-list.ts';
import { mostSimilar } from '../domain/similar-names.ts';
import type { EntityManager } from './database.ts';
import * as organizations from './organizations.ts';

/** Nothing has the name. The message says so, and which names exist. */
export class UnknownNameError extends Error {
  override name = 'UnknownNameError';
  /** The field of the request that holds the name. */
  readonly field: string;

  constructor(field: string, message: string) {
    super(message);
    this.field = field;
  }
}

/** So many names are compared with the one that is not there. */
const MAX_COMPARED = 1_000;
/** More would have to be searched. */
const MAX_NAMED = 5;

/** @throws UnknownNameError when one of the ids is no organization's. */
export async function requireOrganizations(em: EntityManager, ids: readonly string[], field = 'organization_ids'): Promise<void> {
  const existing = await organizations.existing(em, ids);
  const unknown = [...new Set(ids)].filter((id) => !existing.has(id));
  if (unknown.length > 0) throw new UnknownNameError(field, await absenceOfOrganizations(em, unknown));
}

/**
 * For a filter of rows that outlive an organization: its id is known as long as something is kept of it.
 *
 * @throws UnknownNameError
 */
export async function requireOrganizationOfRows(em: EntityManager, id: string): Promise<void> {
  const [{ known } = { known: false }] = await em.execute<{ known: boolean }[]>(
    `select exists (select from organization_balance_config where c_organization_id = ?)
       or exists (select from webhook_event where organization_id = ?)
       or exists (select from outbound_event where organization_id = ?)
       or exists (select from hold where organization_id = ?)
       or exists (select from ledger_transfer where organization_id = ?) as known`,
    [id, id, id, id, id],
  );
  if (!known) throw new UnknownNameError('organization_id', await absenceOfOrganizations(em, [id]));
}

/** That there is no such organization, in a sentence that names those that may have been meant. */
export async function absenceOfOrganizations(em: EntityManager, ids: readonly string[]): Promise<string> {
  const rows = await em.execute<{ id: string; all: number }[]>(
    `select c_organization_id as id, (select count(*)::integer from organization_balance_config) as all
     from organization_balance_config order by c_organization_id limit ?`,
    [MAX_COMPARED],
  );
  return `there is no organization ${ids.join(', ')}; ${whatExists(
    ids,
    rows.map((row) => row.id),
    rows[0]?.all ?? 0,
  )}`;
}

/** For a filter of events: a LiteLLM team that an organization has, that LiteLLM has shown, or that an event names. @throws UnknownNameError */
export async function requireTeamOfEvents(em: EntityManager, teamId: string): Promise<void> {
  const [{ known } = { known: false }] = await em.execute<{ known: boolean }[]>(
    `select exists (select from organization_balance_config where litellm_team_id = ?)
       or exists (select from litellm_team where team_id = ?)
       or exists (select from webhook_event where team_id = ?) as known`,
    [teamId, teamId, teamId],
  );
  if (known) return;
  const rows = await em.execute<{ id: string; all: number }[]>(
    `select litellm_team_id as id, (select count(*)::integer from organization_balance_config) as all
     from organization_balance_config order by litellm_team_id limit ?`,
    [MAX_COMPARED],
  );
  const exists = whatExists(
    [teamId],
    rows.map((row) => row.id),
    rows[0]?.all ?? 0,
  );
  throw new UnknownNameError('team_id', `no organization has the LiteLLM team ${teamId}, and no event names it; ${exists}`);
}

/** For a filter of events: the type of one that is kept. @throws UnknownNameError */
export async function requireEventType(em: EntityManager, eventType: string): Promise<void> {
  if ((await em.execute('select from webhook_event where event_type = ? limit 1', [eventType])).length > 0) return;
  const rows = await em.execute<{ type: string }[]>('select distinct event_type as type from webhook_event order by type limit ?', [
    MAX_COMPARED,
  ]);
  const types = rows.map(({ type }) => type);
  throw new UnknownNameError('event_type', `no event has the type ${eventType}; ${whatExists([eventType], types, types.length)}`);
}

/** @param count how many there are in all; `names` may be the first of them. */
function whatExists(wanted: readonly string[], names: readonly string[], count: number): string {
  if (count === 0) return 'there is none yet';
  const alike = [...new Set(wanted.flatMap((name) => mostSimilar(name, names, (each) => [each], MAX_NAMED)))].slice(0, MAX_NAMED);
  if (alike.length > 0) return `like it: ${alike.join(', ')}`;
  return `there are ${shortList(names.slice(0, MAX_NAMED), count)}`;
}
