/** Alerts of teams that no organization has, beside the organizations whose own team is missing. */
import type { EntityManager } from '../../database/database.ts';
import type { Organization } from '../../database/entities.ts';
import * as webhookEvents from '../../database/webhook-events.ts';
import { ago } from '../../domain/elapsed.ts';
import { mostSimilar } from '../../domain/similar-names.ts';
import type { Reading } from './reading.ts';

/** Older alerts are of no team that still waits for its budget. */
const WITHIN_MS = 7 * 86_400_000;
/** More are in `bill events --outcome unknown_team`. */
const MAX_STRAYS = 20;
const MAX_BESIDE = 3;

/** @param withoutTeam the organizations whose team LiteLLM does not have: one may mean the stray one. */
export async function examineStrayTeams(em: EntityManager, withoutTeam: readonly Organization[]): Promise<Reading[]> {
  const strays = await webhookEvents.strayTeams(em, { withinMs: WITHIN_MS, limit: MAX_STRAYS });
  return strays.map((stray) => readingOf(stray, withoutTeam));
}

function readingOf({ teamId, lastAlertAt }: webhookEvents.StrayTeam, withoutTeam: readonly Organization[]): Reading {
  const about = { area: 'alerts', check: teamId };
  const seen = `alerts come for team ${teamId}, which no organization has (last ${ago(lastAlertAt)})`;
  const alike = mostSimilar(teamId, withoutTeam, ({ id, litellmTeamId }) => [id, litellmTeamId], MAX_BESIDE);
  const [meant] = alike;
  if (meant) return { ...about, verdict: 'change', seen: beside(seen, alike), advice: `set --team: ${setTeam(meant.id, teamId)}` };

  // A team that was deleted may have been made again under any id; one that is yet to be made was not.
  const others = withoutTeam.filter(({ createTeam, litellmSeenAt }) => !createTeam || litellmSeenAt).slice(0, MAX_BESIDE);
  const [other] = others;
  const add = `add the organization that pays for it: bill org add … --team ${teamId}; nothing, if nobody is to pay`;
  const advice = other ? `if ${other.id} means this team: ${setTeam(other.id, teamId)}; else ${add}` : add;
  return { ...about, verdict: 'note', seen: beside(seen, others), advice };
}

function beside(seen: string, organizations: readonly Organization[]): string {
  const missing = organizations.map(({ id, litellmTeamId }) => `organization ${id} has team ${litellmTeamId}, which LiteLLM does not have`);
  return [seen, ...missing].join('; ');
}

function setTeam(organizationId: string, teamId: string): string {
  return `bill org set ${organizationId} --team ${teamId}`;
}
