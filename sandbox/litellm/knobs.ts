/** The knobs under `/_sandbox/`; startLitellm lists them. */
import type { Answer, SandboxRequest } from '../exchange.ts';
import type { BudgetAlerts } from './alerts.ts';
import type { Context } from './context.ts';
import { Refusal } from './errors.ts';
import type { Settings } from './settings.ts';
import { type JsonObject, parseJson, readBody } from './validation.ts';

const SETTINGS = {
  webhook_url: 'string',
  alert_ttl_s: 'float',
  alert_copies: 'integer',
  spend_lag_ms: 'integer',
  call_cost: 'float',
  call_reservation: 'float',
  database_down: 'boolean',
  default_budget_duration: 'string',
} as const;

/** @throws Refusal for a knob or a team that does not exist, or a body that does not fit. */
export function turnKnob(request: SandboxRequest, { store, settings, budget }: Context, alerts: BudgetAlerts): Answer {
  if (request.method !== 'POST') throw noKnob(request);
  const body = parseJson(request);
  const [, teamId, ofTeam] = /^\/_sandbox\/teams\/([^/]+)\/(spend|crowd)$/.exec(request.path) ?? [];
  if (teamId !== undefined) {
    const team = store.teams.get(decodeURIComponent(teamId));
    if (!team) throw new Refusal({ status: 404, body: { error: { message: `there is no team ${teamId}` } } });
    if (ofTeam === 'crowd') {
      const { keys = 0, members = 0 } = readBody({ keys: 'integer', members: 'integer' }, body);
      team.crowd = { keys: keys ?? 0, members: members ?? 0 };
      return { status: 200, body: { team_id: team.team_id, ...team.crowd } };
    }
    budget.addSpend(team, readBody({ amount: 'float!' }, body).amount);
    return { status: 200, body: { team_id: team.team_id, spend: team.spend, max_budget: team.max_budget } };
  }
  switch (request.path) {
    case '/_sandbox/alerts':
      alerts.enabled = readBody({ enabled: 'boolean!' }, body).enabled;
      return { status: 200, body: { enabled: alerts.enabled } };
    case '/_sandbox/alerts/forget':
      alerts.forget();
      return { status: 200, body: {} };
    case '/_sandbox/organizations': {
      const { organization_id, max_budget } = readBody({ organization_id: 'string!', max_budget: 'float!' }, body);
      store.caps.set(organization_id, max_budget);
      return { status: 200, body: { organization_id, max_budget } };
    }
    case '/_sandbox/settings':
      change(settings, body ?? {});
      if (settings.spend_lag_ms === 0) budget.flush();
      return { status: 200, body: publicSettings(settings) };
    default:
      throw noKnob(request);
  }
}

/** The settings without the master key. */
export function publicSettings({ master_key: _, ...settings }: Settings): Omit<Settings, 'master_key'> {
  return settings;
}

/** @throws Refusal 400 for a setting that does not exist or a number below 0, and changes nothing then. */
function change(settings: Settings, body: JsonObject): void {
  const wanted = readBody(SETTINGS, body);
  for (const name of Object.keys(body)) {
    const value = body[name];
    if (
      !Object.hasOwn(SETTINGS, name) ||
      (typeof value === 'number' && value < 0) ||
      (value === null && name !== 'webhook_url' && name !== 'default_budget_duration')
    ) {
      throw new Refusal({
        status: 400,
        body: { error: { message: `settings are ${Object.keys(SETTINGS).join(', ')}, numbers at least 0` } },
      });
    }
  }
  Object.assign(settings, wanted);
}

function noKnob(request: SandboxRequest): Refusal {
  return new Refusal({ status: 404, body: { error: { message: `there is no knob ${request.method} ${request.path}` } } });
}
