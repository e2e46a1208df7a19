/**
 * Recharges by the hundred, without a floor: at a steady rate, at the limit of Stripe, and through the death of every
 * process. Afterwards each organization was charged once, and has its quota.
 */
import type { Organization, World } from '../test/support/world.ts';
import { allClosed, check, inWorld, organizationsOf } from './recharge.ts';
import { type Row, rowOf } from './rounds.ts';

export type BurstSizes = { sustainedSeconds: number; killed: number; crossings: number };

const RECHARGES_A_SECOND = 25;
/** Charges a second, few enough for any machine. */
const STRIPE_LIMIT = 4;

/** One alert after the other, as often as they are to be recharged. */
export async function measureSustained({ sustainedSeconds }: BurstSizes, say: (line: string) => void): Promise<Row[]> {
  return inWorld({ say }, async ({ world }) => {
    const organizations = await organizationsOf(world, sustainedSeconds * RECHARGES_A_SECOND);
    const started = performance.now();
    const sent: Promise<unknown>[] = [];
    for (const [n, organization] of organizations.entries()) {
      const wait = started + (n / RECHARGES_A_SECOND) * 1_000 - performance.now();
      if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
      sent.push(world.accepted(organization));
    }
    await Promise.all(sent);
    await allClosed(world);
    const seconds = (performance.now() - started) / 1_000;
    await checkAll(world, organizations);
    return [
      figure(
        `recharges, ${RECHARGES_A_SECOND} asked for in a second for ${sustainedSeconds} s`,
        'a second',
        organizations.length / seconds,
      ),
    ];
  });
}

/** From the death of all processes until nothing is open, their start included. */
export async function measureKilled({ killed }: BurstSizes, say: (line: string) => void): Promise<Row[]> {
  return inWorld({ say }, async ({ world, killAndStart }) => {
    const organizations = await organizationsOf(world, killed);
    await Promise.all(organizations.map((organization) => world.accepted(organization)));
    const started = performance.now();
    await killAndStart();
    await allClosed(world);
    const seconds = (performance.now() - started) / 1_000;
    await checkAll(world, organizations);
    return [figure(`${killed} open recharges after kill -9 of API and worker`, 's', seconds)];
  });
}

/** More crossings at once than Stripe is asked to charge in a second. */
export async function measureLimit({ crossings }: BurstSizes, say: (line: string) => void): Promise<Row[]> {
  return inWorld({ say, env: { STRIPE_RATE_LIMIT: String(STRIPE_LIMIT) } }, async ({ world }) => {
    const organizations = await organizationsOf(world, crossings);
    // The first raise of a service goes alone.
    const [first, ...others] = organizations as [Organization, ...Organization[]];
    await world.alerted(first);
    await Promise.all(others.map((organization) => world.accepted(organization)));
    await allClosed(world);
    await checkAll(world, organizations);
    const { rows } = await world.sql.query<{ at: number }>(
      `select extract(epoch from (step->>'at')::timestamptz)::float as at from recharge, jsonb_array_elements(timeline) step
       where step->>'status' = 'charged' order by at offset 1`,
    );
    const [begun, ...charged] = rows.map(({ at }) => at);
    // Both, because Temporal divides the limit among the partitions of the queue, and at the end some have no more.
    const half = Math.floor(charged.length / 2);
    const share = (count: number) => count / ((charged[count - 1] ?? 0) - (begun ?? 0)) / STRIPE_LIMIT;
    const refused = (await world.stripeState()).requests.filter(({ status }) => status === 429).length;
    return [
      figure(
        `charges a second of ${crossings} crossings, STRIPE_RATE_LIMIT being ${STRIPE_LIMIT}: the first half`,
        'of the limit',
        share(half),
      ),
      figure('· all', 'of the limit', share(charged.length)),
      figure('· answers 429 of Stripe', '', refused),
    ];
  });
}

async function checkAll(world: World, organizations: readonly Organization[]): Promise<void> {
  for (const organization of organizations) await check(world, organization);
}

function figure(what: string, unit: string, value: number): Row {
  return rowOf(what, unit, { service: [value], floor: [0] });
}
