/**
 * LiteLLM: whether it answers, what our key may do there, and whether the organizations' teams can be
 * recharged.
 */
import type { EntityManager } from '../../database/database.ts';
import type { Organization } from '../../database/entities.ts';
import * as organizations from '../../database/organizations.ts';
import { REFUSALS, unfitness } from '../../domain/policy.ts';
import { warningsOf } from '../../domain/settings-warnings.ts';
import { howToMakeAgain } from '../../domain/sync.ts';
import type { KmsClient } from '../../kms/client.ts';
import { KmsError } from '../../kms/errors.ts';
import { KMS_ROUTES, type KmsRoute } from '../../kms/routes.ts';
import { change, note, type Observation, type Reading, runCheck } from './reading.ts';
import { examineStrayTeams } from './stray-teams.ts';

const AREA = 'LiteLLM';
const AREA_OF_TEAMS = 'teams';
/** At most this many teams are checked; the sweep reports on the others. */
const TEAMS_LIMIT = 200;

export async function examineLitellm(kms: KmsClient): Promise<Reading[]> {
  const answers = await runCheck(
    { area: AREA, check: 'answers', advice: 'set KMS_BASE_URL to the address of the LiteLLM proxy, and start it' },
    async () => {
      return `in ${Math.round(await kms.ping())} ms, its database connected`;
    },
  );
  if (answers.verdict !== 'ok') return [answers];
  const refusals = await Promise.all(KMS_ROUTES.map(async (route) => [route, await kms.refusalOf(route)] as const));
  // LiteLLM refuses a known key on some routes at most, so one that is refused on all is unknown.
  if (refusals.every(([, refusal]) => refusal?.kind === 'unauthenticated')) {
    const key = runCheck({ area: AREA, check: 'key', advice: 'set KMS_API_KEY to a key that this LiteLLM knows' }, async () => {
      throw refusals[0]?.[1];
    });
    return [answers, await key];
  }
  const refused = refusals.flatMap(([route, refusal]) => (refusal ? [lack(route, refusal)] : []));
  if (refused.length > 0) return [answers, ...(await Promise.all(refused))];
  return [answers, await runCheck({ area: AREA, check: 'key' }, async () => `may call all ${KMS_ROUTES.length} routes of the service`)];
}

function lack({ method, path }: KmsRoute, refusal: KmsError): Promise<Reading> {
  return runCheck(
    { area: AREA, check: `may call ${method} ${path}`, advice: 'look at LiteLLM: its answer says neither yes nor no' },
    async () => {
      if (refusal.kind !== 'forbidden' && refusal.kind !== 'unauthenticated') throw refusal;
      const isForbiddenRoute = /not allowed to call this route/.test(refusal.message);
      const advice = isForbiddenRoute
        ? `add "${path}" to the key's allowed_routes`
        : 'give the user that the key belongs to the role proxy_admin: allowed_routes alone do not suffice';
      return change(isForbiddenRoute ? 'no' : `no: ${refusal.message}`, advice);
    },
  );
}

/** The teams of the organizations that are recharged automatically, and those that alerts come for. */
export async function examineTeams(em: EntityManager, kms: KmsClient): Promise<Reading[]> {
  const { data, nextCursor } = await organizations.list(em, { limit: TEAMS_LIMIT, cursor: undefined });
  const charged = data.filter(({ autoRechargeEnabled }) => autoRechargeEnabled);
  const withoutTeam: Organization[] = [];
  const readings = await Promise.all(
    charged.map((organization) =>
      runCheck({ area: AREA_OF_TEAMS, check: organization.id, advice: 'look at the team in LiteLLM' }, async () =>
        fitnessOf(organization, kms, () => withoutTeam.push(organization)),
      ),
    ),
  );
  const unfit = readings.filter(({ verdict }) => verdict !== 'ok');
  const seen = `${readings.length - unfit.length} of ${readings.length} are as a recharge needs them there; bill status says what else keeps one away${nextCursor ? `; only the newest ${TEAMS_LIMIT} organizations were looked at` : ''}`;
  return [
    { area: AREA_OF_TEAMS, check: 'in LiteLLM', verdict: 'ok', seen, advice: null },
    ...unfit,
    ...(await Promise.all(charged.flatMap(warnings))),
    ...(await examineStrayTeams(em, withoutTeam)),
  ];
}

/** @param noteAbsence called when LiteLLM does not have the team. */
async function fitnessOf(organization: Organization, kms: KmsClient, noteAbsence: () => void): Promise<Observation> {
  const { id, litellmTeamId, litellmSeenAt, createTeam } = organization;
  try {
    const reason = unfitness(await kms.teamBudget(litellmTeamId));
    return reason ? change(...split(REFUSALS[reason])) : 'as a recharge needs it';
  } catch (error) {
    if (!(error instanceof KmsError) || error.kind !== 'not_found') throw error;
    noteAbsence();
    if (litellmSeenAt) {
      return change(
        `LiteLLM no longer has the team ${litellmTeamId}`,
        `bill sweep, then ${howToMakeAgain(id)}; or correct it: bill org set ${id} --team …`,
      );
    }
    if (createTeam) return note(`LiteLLM has no team ${litellmTeamId} yet`, 'none: the synchronisation makes it');
    return change(
      `LiteLLM has no team ${litellmTeamId}, and it was not asked for`,
      `correct it: bill org set ${id} --team …; or have it made: bill org set ${id} --create-team`,
    );
  }
}

/** Settings with which it can be recharged, but later than it should be. */
function warnings(organization: Organization): Promise<Reading>[] {
  return warningsOf(organizations.policyOf(organization)).map((warning) =>
    runCheck({ area: AREA_OF_TEAMS, check: organization.id }, async () => note(...split(warning))),
  );
}

/** The domain's sentences have the form "what is wrong: what to change". */
function split(sentence: string): [seen: string, advice: string] {
  const [seen = '', advice = ''] = sentence.split(': ');
  return [seen, advice];
}
