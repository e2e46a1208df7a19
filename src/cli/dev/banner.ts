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
    [
      'Keys and secrets',
      Object.keys(OWN_SETTINGS).map((name) => [name, isGiven(name, given) ? 'yours' : OWN_SETTINGS[name as keyof typeof OWN_SETTINGS]]),
    ],
  ];
  const text = sections.map(([title, rows]) => `  ${title}\n${rows.map(([what, value]) => `    ${what.padEnd(22)} ${value}`).join('\n')}`);
  return [
    `${styleText('bold', 'bill-service is running.')} Ctrl-C stops it, npm start -- --fresh starts over.`,
    ...text,
    `  An alert by hand; it charges when the balance of the team is at its minimum or below\n    ${alertByHand(apiUrl, given)}`,
    `  In another terminal\n${commands(given)
      .map((line) => `    ${line}`)
      .join('\n')}`,
  ].join('\n\n');
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
  const tries = [
    'npm run bill -- status',
    'npm run bill -- recharges',
    'npm run bill -- events --limit 5',
    `npm run bill -- webhook send --team ${teamToTry(given)}`,
  ];
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
