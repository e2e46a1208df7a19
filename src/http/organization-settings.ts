/**
 * The settings of an organization, each spelled once: how its JSON is read and shown, the entity's property
 * that holds it, its value when a new organization names none, and its flag of `bill org`. The routes and the
 * commands follow from this table.
 *
 * To add a setting: a row in this table, a property in `OrganizationSettings` and in the entity (both in
 * src/database), a migration, and a field of `RechargePolicy` where a rule reads it.
 */
import { z } from 'zod';
import type { Organization } from '../database/entities.ts';
import type { OrganizationSettings } from '../database/organizations.ts';
import { DEFAULT_TARGETS, type Limits, limitsOf } from '../domain/limits.ts';
import { type Currency, currency, formatMoney, formatQuota, type MinorUnits, parseMoney, type QuotaMicros } from '../domain/money.ts';
import { identifier, notNegativeDollars, parsedBy, positiveDollars, text } from './fields.ts';

/** An organization that is charged more often than this in a day has its target too low. */
const MAX_DAILY_RECHARGES = 1000;

/** Stands for the organization's own id as a default. */
export const ITS_ID = Symbol('the id of the organization');

/** How a limit is given its default by API; the command line has a word for it. */
export const NULL = 'null for the default';

/** What Stripe takes beyond these, or not of them, it says at the first charge: it has no list for every account. */
const CURRENCIES_IN_USE = new Set(Intl.supportedValuesOf('currency').map((code) => code.toLowerCase()));
const currencyInUse = parsedBy(currency).refine(
  (code) => CURRENCIES_IN_USE.has(code),
  'has to be a currency in use, by its three letters, such as "eur"',
);

type Property = keyof OrganizationSettings;
type MoneyProperty = { [P in Property]: OrganizationSettings[P] extends MinorUnits | null | undefined ? P : never }[Property];

type About<Json> = {
  /** As commander writes an option: `--minimum <dollars>`. A boolean without an argument can only be set. */
  flag: string;
  description: string;
  /** JSON value of a new organization that names none; absent: it has to name one. */
  byDefault?: Json | typeof ITS_ID;
};

export type Setting = About<unknown> & {
  property: Property;
  /** Reads the JSON value. Money stays text, because its decimal places are the currency's. */
  schema: z.ZodType;
  /** Only of money: reads the text when the currency is known. */
  schemaIn?: (code: Currency) => z.ZodType;
  /** The JSON value of an entity's value. Checks nothing: what is stored is shown. */
  present: (value: never, organization: Organization) => unknown;
};

const SETTINGS = {
  name: setting('name', text(200), { flag: '--name <name>', description: 'for people', byDefault: ITS_ID }),
  stripe_customer_id: setting('stripeCustomerId', z.string().regex(/^cus_\w{1,100}$/, 'has to be the id of a Stripe customer, cus_…'), {
    flag: '--customer <cus_…>',
    description: 'Stripe customer',
  }),
  litellm_team_id: setting('litellmTeamId', text(200), { flag: '--team <id>', description: 'LiteLLM team', byDefault: ITS_ID }),
  currency: setting('currency', currencyInUse, { flag: '--currency <code>', description: 'of the charges', byDefault: 'usd' }),
  minimum_balance: quota('minimumBalance', notNegativeDollars, {
    flag: '--minimum <dollars>',
    description: 'a balance at or below this is topped up',
  }),
  target_balance: quota('targetBalance', positiveDollars, {
    flag: '--target <dollars>',
    description: 'the balance that a recharge restores',
  }),
  quota_per_unit: quota('quotaPerUnit', positiveDollars, {
    flag: '--quota-per-unit <dollars>',
    description: 'LiteLLM dollars that one unit of the currency buys',
    byDefault: '1',
  }),
  auto_recharge_enabled: setting('autoRechargeEnabled', z.boolean(), {
    flag: '--auto-recharge <on|off>',
    description: 'charge without being asked',
    byDefault: true,
  }),
  max_daily_recharges: setting('maxDailyRecharges', z.number().int().min(0).max(MAX_DAILY_RECHARGES), {
    flag: '--max-daily <n>',
    description: 'attempts a day in the time zone',
    byDefault: 10,
  }),
  max_charge: limit('maxCharge', {
    flag: '--max-charge <amount>',
    description: 'the most that is charged at once unless a person releases it',
  }),
  max_daily_amount: limit('maxDailyAmount', { flag: '--max-daily-amount <amount>', description: 'the most that a day may cost' }),
  max_monthly_amount: limit('maxMonthlyAmount', { flag: '--max-monthly <amount>', description: 'the most that a month may cost' }),
  time_zone: setting('timeZone', text(100), {
    flag: '--time-zone <zone>',
    description: 'IANA name, for the days and months of the limits',
    byDefault: 'UTC',
  }),
  blocked: setting('blocked', z.boolean(), { flag: '--blocked <on|off>', description: 'have LiteLLM refuse the team', byDefault: false }),
  create_team: setting('createTeam', z.boolean(), {
    flag: '--create-team',
    description: 'have the team made when LiteLLM has never had it',
    byDefault: false,
  }),
} satisfies Record<string, Setting>;

function setting<P extends Property, S extends z.ZodType<OrganizationSettings[P]>>(property: P, schema: S, about: About<z.input<S>>) {
  return { property, schema, present: (value: OrganizationSettings[P]): unknown => value, ...about };
}

function quota<P extends Property, S extends z.ZodType<OrganizationSettings[P] & QuotaMicros>>(
  property: P,
  schema: S,
  about: About<z.input<S>>,
) {
  return { property, schema, present: formatQuota, ...about };
}

/** A limit in the organization's currency. What is shown is the limit that applies, a default included. */
function limit<P extends MoneyProperty & keyof Limits>(
  property: P,
  { flag, description }: Pick<About<string | null>, 'flag' | 'description'>,
) {
  return {
    property,
    flag,
    description: `${description}, in the currency; "default" is ${DEFAULT_TARGETS[property]} times the target`,
    byDefault: null,
    schema: z.string(`has to be a decimal string like "500.00", or ${NULL}`).nullable(),
    schemaIn: (code: Currency) =>
      parsedBy((amount) => parseMoney(amount, code))
        .refine((amount) => amount >= 0, 'may not be negative')
        .nullable(),
    present: (_stored: MinorUnits | null | undefined, organization: Organization) =>
      formatMoney(limitsOf(organization)[property], organization.currency),
  };
}

type Field = keyof typeof SETTINGS;
/** Every setting as its schema reads it. */
export type SettingsBody = { [F in Field]: z.output<(typeof SETTINGS)[F]['schema']> };
type Shape = { [F in Field]: (typeof SETTINGS)[F]['schema'] };

const entries = Object.entries(SETTINGS) as [Field, Setting][];
const shapeOf = (schema: (setting: Setting) => z.ZodType) =>
  Object.fromEntries(entries.map(([field, setting]) => [field, schema(setting)])) as unknown as Shape;

type AnySettings = { [F in Field]?: SettingsBody[F] | undefined };

/** Every setting with its JSON field, in the order in which they are shown. */
export const settingEntries: readonly (readonly [field: string, setting: Setting])[] = entries;

/** JSON fields that hold money of the organization's currency. */
export const MONEY_FIELDS = entries.filter(([, { schemaIn }]) => schemaIn).map(([field]) => field as MoneyField);
type MoneyField = { [F in Field]: (typeof SETTINGS)[F]['property'] extends MoneyProperty ? F : never }[Field];

/** The settings that a PATCH changes; money is still text. */
export const changedSettings = z.strictObject(shapeOf(({ schema }) => schema)).partial();

/** A POST with every setting; money is still text. */
export const newOrganization = z
  .strictObject({
    c_organization_id: identifier,
    ...shapeOf(({ schema, byDefault }) => {
      if (byDefault === ITS_ID) return schema.optional();
      return byDefault === undefined ? schema : schema.prefault(byDefault);
    }),
  })
  .transform(({ c_organization_id: id, ...given }): { id: string; settings: SettingsBody } => {
    const defaulted = entries
      .filter(([field, { byDefault }]) => byDefault === ITS_ID && given[field] === undefined)
      .map(([field]) => [field, id]);
    return { id, settings: { ...given, ...Object.fromEntries(defaulted) } };
  });

/**
 * From the fields of `newOrganization` or `changedSettings` to the entity's properties, with money in the
 * currency's decimal places.
 */
export function settingsIn<B extends AnySettings = AnySettings>(code: Currency): z.ZodType<PropertiesOf<B>, B> {
  const shape = shapeOf(({ schemaIn }) => (schemaIn?.(code) ?? z.unknown()).optional());
  const renamed = (body: object) =>
    Object.fromEntries(Object.entries(body).map(([field, value]) => [SETTINGS[field as Field].property, value]));
  return z.strictObject(shape).transform(renamed) as unknown as z.ZodType<PropertiesOf<B>, B>;
}

type PropertiesOf<B> = {
  [F in keyof B as F extends Field ? (typeof SETTINGS)[F]['property'] : never]: F extends Field
    ? OrganizationSettings[(typeof SETTINGS)[F]['property']]
    : never;
};

/** An organization's settings as JSON. */
export function presentSettings(organization: Organization): Record<Field, unknown> {
  const shown = entries.map(([field, { property, present }]) => [field, present(organization[property] as never, organization)]);
  return Object.fromEntries(shown);
}

/** The fields of money that an organization has no value of its own for: what is shown of them is the default. */
export function defaultLimits(organization: Organization): MoneyField[] {
  return MONEY_FIELDS.filter((field) => (organization[SETTINGS[field].property] ?? null) === null);
}
