/** What `bill dev` says when it runs: which parts are real, what opens which door, and what to try. */
import { styleText } from 'node:util';
import { WORKFLOW_TYPES } from '../../../workflows/contract.ts';
import type { Config } from '../../config.ts';
import { OWN_SETTINGS } from './embedded.ts';
import { isReal, PART_VARIABLES, PARTS, type Part } from './parts.ts';

/** The list's filter; see docs/operating.md. */
const RECHARGES_ALONE = encodeURIComponent(`WorkflowType="${WORKFLOW_TYPES.recharge}"`);

export type Running = {
  config: Config;
  /** What the operator has set; everything else is `bill dev`'s own, and no secret. */
  given: Readonly<Record<string, string | undefined>>;
  /** Where this API listens, whatever PUBLIC_URL says. */
  apiUrl: string;
  /** The list of workflows in the Temporal Web UI; null when nobody knows where it is. */
  workflowsUrl: string | null;
  logFile: string;
  /** Where API and worker show their metrics; none: nowhere. */
  metricsUrls: readonly string[];
};

export function banner({ config, given, apiUrl, workflowsUrl, logFile, metricsUrls }: Running): string {
  const place = (part: Part, own: string) => (isReal(part, given) ? `${realMark()} ${hostOf(part, given)} (${PART_VARIABLES[part]})` : own);
  const sections: [string, [string, string][]][] = [
    [
      'Where to look',
      [
        ['Temporal Web UI', workflowsUrl ?? 'unknown (TEMPORAL_UI_URL)'],
        ...(workflowsUrl === null ? [] : [['  recharges alone', `${workflowsUrl}?query=${RECHARGES_ALONE}`] as [string, string]]),
        ['API', apiUrl],
        ...(metricsUrls.length > 0 ? [['Metrics', metricsUrls.join(' ')] as [string, string]] : []),
        ['Log', logFile],
      ],
    ],
    [
      'What it is made of',
      [
        ['database', place('database', `its own, ${config.databaseUrl}`)],
        ['temporal', place('temporal', 'its own')],
        ['stripe', place('stripe', `a stand-in, ${config.stripe.apiBase}/_sandbox/state`)],
        ['litellm', place('litellm', `a stand-in, ${config.kms.baseUrl}/_sandbox/state`)],
      ],
    ],
  ];
  const text = sections.map(([title, rows]) => `  ${title}\n${rows.map(([what, value]) => `    ${what.padEnd(22)} ${value}`).join('\n')}`);
  return [
    `${styleText('bold', 'bill-service is running.')} Ctrl-C stops it, npm start -- --fresh starts over.`,
    ...text,
    `  In another terminal, first: then every command that is printed can be pasted as it is\n${toPaste({ config, given, apiUrl })
      .map((line) => `    ${line}`)
      .join('\n')}`,
    `  An alert by hand; it charges when the balance of the team is at its minimum or below\n    ${alertByHand(apiUrl, given)}`,
    `  Then try\n${commands(given)
      .map((line) => `    ${line}`)
      .join('\n')}`,
  ].join('\n\n');
}

/** What is printed as `bill …` or `curl "$KMS_BASE_URL/…"` runs after these lines. What the operator has set is not printed. */
function toPaste({ config, given, apiUrl }: Pick<Running, 'config' | 'given' | 'apiUrl'>): string[] {
  const own = { PUBLIC_URL: apiUrl, KMS_BASE_URL: config.kms.baseUrl, ...OWN_SETTINGS };
  const lines = Object.entries(own).map(([name, value]) => (isGiven(name, given) ? `# ${name} is yours` : `export ${name}=${value}`));
  return ["alias bill='npx bill'", ...lines];
}

/** The first demonstration organization; where something is real, the operator has to name a team. */
function teamToTry(given: Running['given']): string {
  return PARTS.some((part) => isReal(part, given)) ? '<LiteLLM team>' : 'acme';
}

/** Pasted into a shell, it sends LiteLLM's alert. A token of the operator's own is not printed. */
export function alertByHand(apiUrl: string, given: Running['given']): string {
  const token = isGiven('WEBHOOK_URL_TOKENS', given) ? `\${WEBHOOK_URL_TOKENS%%,*}` : OWN_SETTINGS.WEBHOOK_URL_TOKENS;
  const body = JSON.stringify({ event: 'budget_crossed', event_group: 'team', team_id: teamToTry(given), spend: 10.5, max_budget: 10 });
  return `curl "${apiUrl}/webhooks/litellm/limit-exceeded?token=${token}" -H 'content-type: application/json' -d '${body}'`;
}

/** Commands take what is set in the environment before what runs here. */
function commands(given: Running['given']): string[] {
  const tries = ['npx bill status', 'npx bill recharges', 'npx bill events --limit 5', `npx bill webhook send --team ${teamToTry(given)}`];
  const elsewhere = ['PUBLIC_URL', 'HOST', 'PORT'].filter((name) => isGiven(name, given));
  if (elsewhere.length === 0) return tries;
  return [`they go to where ${elsewhere.join(' and ')} of your environment say${elsewhere.length === 1 ? 's' : ''}`, ...tries];
}

function realMark(): string {
  return styleText('yellow', 'REAL');
}

/** Host and port only: an address may hold a password. */
function hostOf(part: Part, given: Running['given']): string {
  const address = given[PART_VARIABLES[part]] ?? '';
  return URL.canParse(address) && new URL(address).host !== '' ? new URL(address).host : address;
}

function isGiven(name: string, given: Running['given']): boolean {
  return Boolean(given[name]);
}
