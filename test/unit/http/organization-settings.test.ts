import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { z } from 'zod';
import type { Organization } from '../../../src/database/entities.ts';
import { limitsOf } from '../../../src/domain/limits.ts';
import { type Currency, formatMoney, type MinorUnits } from '../../../src/domain/money.ts';
import {
  changedSettings,
  defaultLimits,
  MONEY_FIELDS,
  newOrganization,
  presentSettings,
  type SettingsBody,
  settingEntries,
  settingsIn,
} from '../../../src/http/organization-settings.ts';
import { parse } from '../../../src/http/problem.ts';

/** The least that a new organization says. */
const LEAST = { c_organization_id: 'acme', stripe_customer_id: 'cus_1', minimum_balance: '5.00', target_balance: '25.00' };

function read(body: object) {
  const { id, settings } = newOrganization.parse(body);
  return { id, settings: settingsIn<SettingsBody>(settings.currency).parse(settings) };
}

describe('a new organization', () => {
  test('gets the default of every setting that it does not name', () => {
    expect(read(LEAST)).toEqual({
      id: 'acme',
      settings: {
        name: 'acme',
        stripeCustomerId: 'cus_1',
        litellmTeamId: 'acme',
        currency: 'usd',
        minimumBalance: 5_000_000,
        targetBalance: 25_000_000,
        quotaPerUnit: 1_000_000,
        autoRechargeEnabled: true,
        maxDailyRecharges: 10,
        maxCharge: null,
        maxDailyAmount: null,
        maxMonthlyAmount: null,
        timeZone: 'UTC',
        blocked: false,
        createTeam: false,
      },
    });
  });

  test.each(['c_organization_id', 'stripe_customer_id', 'minimum_balance', 'target_balance'])('has to name its %s', (field) => {
    const { error } = newOrganization.safeParse({ ...LEAST, [field]: undefined });
    expect(error?.issues.map(({ path }) => path)).toEqual([[field]]);
  });

  test.each([
    ['usd', '500.00', 50_000],
    ['jpy', '500', 500],
    ['kwd', '500.125', 500_125],
  ])('in %s has its money in the decimal places of that currency', (currency, amount, minor) => {
    expect(read({ ...LEAST, currency, max_monthly_amount: amount }).settings.maxMonthlyAmount).toBe(minor);
  });

  test.each([
    ['jpy', '500.50'],
    ['usd', '-1.00'],
    ['usd', 'much'],
  ])('in %s cannot have the amount %s, and the problem names the field', (currency, amount) => {
    const { settings } = newOrganization.parse({ ...LEAST, currency, max_monthly_amount: amount });
    const { error } = settingsIn<SettingsBody>(settings.currency).safeParse(settings);
    expect(error?.issues.map(({ path }) => path)).toEqual([['max_monthly_amount']]);
  });
});

describe('a value that does not fit', () => {
  const WRONG = [5, true, {}, [], '', '-1', '1.1234567', 'x'.repeat(300), '\0', '\ud800', -1, 1.5, 10_000, 'nope', 'zzz'];
  /** What a value has to be, may be, or is not; never the rule as a fact of what breaks it. */
  const SAYS_WHAT_IS_WANTED = /^(has to |may not |may be at most |may have at most |"|is not )/;

  test.each(settingEntries)('is told what %s has to be', (field, { schema, schemaIn }) => {
    const messages = [schema, schemaIn?.('usd' as Currency)].flatMap((each) =>
      WRONG.flatMap((value) => {
        const problem = each && problemOf(z.strictObject({ [field]: each }), { [field]: value });
        return problem ? [problem.slice(`${field}: `.length)] : [];
      }),
    );
    expect(messages.length).toBeGreaterThan(5);
    expect(messages.filter((message) => !SAYS_WHAT_IS_WANTED.test(message))).toEqual([]);
  });

  function problemOf(schema: z.ZodType, value: unknown): string | undefined {
    try {
      parse(schema, value);
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  }
});

test('a change holds only the settings that it names', () => {
  const changes = settingsIn('usd' as Currency).parse(changedSettings.parse({ blocked: true, max_monthly_amount: null }));
  expect(changes).toEqual({ blocked: true, maxMonthlyAmount: null });
});

test('what is shown can be sent again, and means the same', () => {
  fc.assert(
    fc.property(
      fc.constantFrom('usd', 'jpy', 'kwd') as fc.Arbitrary<Currency>,
      fc.option(fc.integer({ min: 0, max: 99_999_999 }) as fc.Arbitrary<MinorUnits>),
      (currency, amount) => {
        const body = { ...LEAST, currency, max_monthly_amount: amount === null ? null : formatMoney(amount, currency) };
        const { id, settings } = read(body);
        const shown = presentSettings({ id, ...settings } as Organization);
        // A default is shown as the amount that it is.
        expect(read({ c_organization_id: id, ...shown })).toEqual({ id, settings: { ...settings, ...limitsOf(settings) } });
      },
    ),
  );
});

test('a limit that is not set is shown as what applies, and is named as a default', () => {
  const shown = (body: object) => {
    const { id, settings } = read({ ...LEAST, ...body });
    const organization = { id, ...settings } as Organization;
    return { ...presentSettings(organization), default_limits: defaultLimits(organization) };
  };
  expect(shown({})).toMatchObject({
    max_charge: '75.00',
    max_daily_amount: '250.00',
    max_monthly_amount: '500.00',
    default_limits: ['max_charge', 'max_daily_amount', 'max_monthly_amount'],
  });
  expect(shown({ currency: 'jpy', quota_per_unit: '0.0066', max_charge: '0', max_monthly_amount: '9000' })).toMatchObject({
    max_charge: '0',
    max_daily_amount: '37880',
    max_monthly_amount: '9000',
    default_limits: ['max_daily_amount'],
  });
});

test('no two settings share a property or a flag', () => {
  for (const key of ['property', 'flag'] as const) {
    const values = settingEntries.map(([, setting]) => setting[key]);
    expect(new Set(values).size).toBe(values.length);
  }
});

test('money is what the currency gives its decimal places', () => {
  expect(MONEY_FIELDS).toEqual(['max_charge', 'max_daily_amount', 'max_monthly_amount']);
});
