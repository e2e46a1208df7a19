/** `bill org`: organizations and their settings. */
import { userInfo } from 'node:os';
import { type Command, Option } from 'commander';
import { z } from 'zod';
import { ago } from '../../domain/elapsed.ts';
import { ITS_ID, MONEY_FIELDS, NULL, type Setting, settingEntries } from '../../http/organization-settings.ts';
import { number } from '../arguments.ts';
import { printChanges } from '../changes.ts';
import { usageError } from '../exit.ts';
import { forPeople, type List, type Output, type Paged, pageOf, printList, printRow, type Row, withJson, withPages } from '../output.ts';
import { callService, ServiceError } from '../service-client.ts';
import { withUnits } from '../units.ts';
import { type Reach, seenBy } from './show.ts';

const ORGANIZATIONS = '/api/v1/organizations';

/** Gives a limit its default, which follows the target. */
const DEFAULT = 'default';

/** Of a list, and after a change. `show` prints every field. */
const COLUMNS = [
  'c_organization_id',
  'state',
  'balance',
  'litellm_team_id',
  'stripe_customer_id',
  'minimum_balance',
  'target_balance',
  'auto_recharge_enabled',
  'holds',
];

/** What may be charged, and at which price. */
const TERMS = ['currency', 'quota_per_unit', 'max_charge', 'max_daily_amount', 'max_monthly_amount', 'max_daily_recharges', 'time_zone'];

export function addOrganizationCommands(bill: Command): void {
  const org = bill.command('org').description('organizations');

  const add = withJson(org.command('add').argument('<id>').description('a new organization'));
  for (const [, setting] of settingEntries) add.addOption(requiredOrWithDefault(setting));
  withRehearsal(add).action(async (id: string, options: Row & Rehearsed) => {
    const body = { c_organization_id: id, ...settingsIn(options) };
    printAdded(options, await inFlags(callService<Row>('POST', ORGANIZATIONS, { body, query: rehearsalIn(options) })));
    printRehearsed(options);
  });

  withPages(org.command('list').description('all of them, newest first')).action(async (options: Paged) => {
    const list = await callService<List>('GET', ORGANIZATIONS, { query: pageOf(options) });
    printList(options, forPeople(options, list, withAge), COLUMNS);
  });

  withJson(org.command('show').argument('<id>').description('one, with every setting')).action(async (id: string, options: Output) => {
    const organization = await callService<Row>('GET', pathOf(id));
    printRow(options, options.json ? organization : withAge(organization));
  });

  const set = withJson(org.command('set').argument('<id>').description('change settings'));
  for (const [, setting] of settingEntries) set.addOption(optionOf(setting));
  withRehearsal(set).action(async (id: string, options: Row & Rehearsed) => {
    const body = settingsIn(options);
    if (Object.keys(body).length === 0) throw usageError('nothing to set: name a setting, such as --target 50.00; --help lists them');
    await changing(id, options, () => inFlags(callService<Row>('PATCH', pathOf(id), { body, query: rehearsalIn(options) })));
    printRehearsed(options);
  });

  withJson(org.command('suspend').argument('<id>').option('--reason <text>').description('charge nothing until it is resumed')).action(
    async (id: string, options: Output & { reason?: string }) => {
      const body = options.reason ? { reason: options.reason } : {};
      const suspend = { body: { ...body, by: userInfo().username } };
      await changing(id, options, () => callService<Row>('POST', `${pathOf(id)}/suspend`, suspend), suspendedAlready);
    },
  );

  withJson(
    org
      .command('accept-budget')
      .argument('<id>')
      .argument('<reason>')
      .description('max_budget in LiteLLM was edited, and it was meant: go on from it'),
  ).action(async (id: string, reason: string, options: Output) => {
    const accept = { body: { reason, by: userInfo().username } };
    const accepting = () => callService<Row>('POST', `${pathOf(id)}/accept-budget`, accept);
    await changing(id, options, accepting, () => 'max_budget in LiteLLM is accepted as it is now');
  });

  withJson(
    org.command('resume').argument('<id>').description('charge again, but for a hold that shows an amount or a budget to approve'),
  ).action(async (id: string, options: Output) => {
    const resume = { body: { by: userInfo().username } };
    await changing(id, options, () => callService<Row>('POST', `${pathOf(id)}/resume`, resume), heldStill);
  });
}

type Rehearsed = Output & { dryRun?: boolean };

function withRehearsal(command: Command): Command {
  return command.option('--dry-run', 'check it, show what would be and what would be charged, and store nothing');
}

function rehearsalIn({ dryRun }: Rehearsed): Record<string, string> {
  return dryRun ? { dry_run: 'true' } : {};
}

function printRehearsed({ dryRun, json }: Rehearsed): void {
  if (dryRun && !json) console.error('Nothing was stored (--dry-run).');
}

/** The hold says already why, or nobody says why now; only its end may be put off. */
function suspendedAlready(organization: Row, before: Row): string {
  const held = ownHold(organization);
  if (!held) return 'nothing has changed';
  const { id, detail, opened_by: by, since, until } = held;
  const first = `it is suspended already, by ${by} since ${since}: ${detail} (${id})`;
  const stays = until === ownHold(before)?.until ? 'That stays' : 'That lasts until it is released from now on';
  return `${first}. ${stays}; another --reason is added to it`;
}

function ownHold(organization: Row): PresentedHold | undefined {
  return (organization['holds'] as PresentedHold[]).find(({ scope, reason }) => scope === 'organization' && reason === 'operator');
}

/** A hold on its card is not the organization's own. */
function heldStill(organization: Row): string {
  const [held] = organization['holds'] as PresentedHold[];
  if (!held) return 'nothing has changed: it was not held';
  const { id, scope, subject, reason } = held;
  return `nothing has changed: the ${scope}${subject ? ` ${subject}` : ''} is held still, ${reason}: ${seenBy(held)} (bill release ${id} "reason")`;
}

/** Makes a change, and shows what it has changed, or `otherwise`. */
async function changing(
  id: string,
  options: Output,
  change: () => Promise<Row>,
  otherwise?: (after: Row, before: Row) => string,
): Promise<void> {
  const before = await callService<Row>('GET', pathOf(id));
  const after = await change();
  printChanges(options, { subject: id, before, after, inWords, otherwise: otherwise?.(after, before) });
  printWarnings(options, after);
}

/** A new organization. */
function printAdded(options: Output, organization: Row): void {
  printRow(options, options.json ? organization : withAge(organization), [...COLUMNS, ...TERMS]);
  printWarnings(options, organization);
}

/** What is likely not meant; it goes to the other stream. */
function printWarnings(options: Output, organization: Row): void {
  if (options.json) return;
  for (const warning of organization['warnings'] as string[]) console.error(`warning: ${withFlags(warning)}.`);
}

/** What the service answers; its refusal names the flags. */
async function inFlags<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof ServiceError) throw new ServiceError(withFlags(error.message), error.exitCode);
    throw error;
  }
}

/** The sentence with the flag behind the first mention of each setting that is called otherwise there. */
function withFlags(sentence: string): string {
  const named = settingEntries.reduce((said, [field, { flag }]) => {
    const [name = ''] = flag.split(' ');
    const isNamed = !field.includes('_') || new RegExp(`\\(${name}[ )]`).test(said);
    return isNamed ? said : said.replace(new RegExp(`\\b${field}\\b`), `${field} (${name})`);
  }, sentence);
  return named.replaceAll(NULL, `"${DEFAULT}"`);
}

type PresentedHold = Record<'id' | 'scope' | 'reason' | 'opened_by' | 'since', string> &
  Reach & {
    subject: string | null;
    until: string | null;
  };

/** With units, and with holds in a word or two. */
function inWords(organization: Row): Row {
  const held = (organization['holds'] as PresentedHold[]).map((hold) => `${hold.reason}: ${seenBy(hold)} (${hold.id})`);
  const dollars = ['balance', 'minimum_balance', 'target_balance', 'quota_per_unit'];
  return { ...withUnits(organization, { money: MONEY_FIELDS, dollars }), holds: held.length > 0 ? held.join('; ') : 'none' };
}

/** The same with the age of the balance, which is the last one that was seen: what was decided since was decided on another. */
function withAge(organization: Row): Row {
  const words = inWords(organization);
  const { balance, balance_at: at } = organization;
  return typeof balance === 'string' && typeof at === 'string'
    ? { ...words, balance: `${words['balance']} (${ago(new Date(at))})` }
    : words;
}

function pathOf(id: string): string {
  return `${ORGANIZATIONS}/${encodeURIComponent(id)}`;
}

function optionOf({ flag, description, schema }: Setting): Option {
  const option = new Option(flag, description);
  if (option.isBoolean()) return option;
  if (schema instanceof z.ZodBoolean) return option.choices(['on', 'off']);
  return schema instanceof z.ZodNumber ? option.argParser(number) : option;
}

function requiredOrWithDefault(setting: Setting): Option {
  const option = optionOf(setting);
  if (setting.byDefault === undefined) return option.makeOptionMandatory();
  option.description += ` (default: ${asArgument(setting.byDefault)})`;
  return option;
}

/** A default as its flag would be given. */
function asArgument(value: unknown): string {
  if (value === ITS_ID) return ITS_ID.description ?? '';
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  return value === null ? DEFAULT : String(value);
}

/** The JSON fields of the flags that were given. */
function settingsIn(options: Row): Row {
  return Object.fromEntries(
    settingEntries.flatMap(([field, { flag, schema }]) => {
      const given = options[new Option(flag).attributeName()];
      return given === undefined ? [] : [[field, jsonOf(given, schema)]];
    }),
  );
}

function jsonOf(given: unknown, schema: z.ZodType): unknown {
  if (schema instanceof z.ZodBoolean) return given === true || given === 'on';
  return schema instanceof z.ZodNullable && given === DEFAULT ? null : given;
}
