/** `bill org`: organizations and their settings. */
import { userInfo } from 'node:os';
import { type Command, Option } from 'commander';
import { z } from 'zod';
import { ITS_ID, type Setting, settingEntries } from '../../http/organization-settings.ts';
import { number } from '../arguments.ts';
import { type List, type Output, type Paged, pageOf, printList, printRow, type Row, withJson, withPages } from '../output.ts';
import { callService } from '../service-client.ts';

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

export function addOrganizationCommands(bill: Command): void {
  const org = bill.command('org').description('organizations');

  const add = withJson(org.command('add').argument('<id>').description('a new organization'));
  for (const [, setting] of settingEntries) add.addOption(requiredOrWithDefault(setting));
  add.action(async (id: string, options: Row & Output) => {
    printChanged(options, await callService<Row>('POST', ORGANIZATIONS, { body: { c_organization_id: id, ...settingsIn(options) } }));
  });

  withPages(org.command('list').description('all of them, newest first')).action(async (options: Paged) => {
    printList(options, await callService<List>('GET', ORGANIZATIONS, { query: pageOf(options) }), COLUMNS);
  });

  withJson(org.command('show').argument('<id>').description('one, with every setting')).action(async (id: string, options: Output) => {
    printRow(options, await callService<Row>('GET', pathOf(id)));
  });

  const set = withJson(org.command('set').argument('<id>').description('change settings'));
  for (const [, setting] of settingEntries) set.addOption(optionOf(setting));
  set.action(async (id: string, options: Row & Output) => {
    printChanged(options, await callService<Row>('PATCH', pathOf(id), { body: settingsIn(options) }));
  });

  withJson(org.command('suspend').argument('<id>').option('--reason <text>').description('charge nothing until it is resumed')).action(
    async (id: string, options: Output & { reason?: string }) => {
      const body = options.reason ? { reason: options.reason } : {};
      printRow(options, await callService<Row>('POST', `${pathOf(id)}/suspend`, { body: { ...body, by: userInfo().username } }), COLUMNS);
    },
  );

  withJson(org.command('resume').argument('<id>').description('charge again')).action(async (id: string, options: Output) => {
    printRow(options, await callService<Row>('POST', `${pathOf(id)}/resume`, { body: { by: userInfo().username } }), COLUMNS);
  });
}

/** The organization after a change, and what is likely not meant; warnings go to the other stream. */
function printChanged(options: Output, organization: Row): void {
  printRow(options, organization, COLUMNS);
  if (options.json) return;
  for (const warning of organization['warnings'] as string[]) console.error(`warning: ${warning}.`);
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
