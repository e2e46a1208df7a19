/**
 * kill -9 of a real worker at every named point of the path: before, during (after each commit) and after
 * each activity. The worker is started again, and every recharge ends by itself, charged once.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { MishapBoard, type MishapQuestion } from '../simulation/mishap-board.ts';
import type { MishapPoint } from '../simulation/schedule.ts';
import { CHARGED_AND_REFUNDED, CHARGED_ONCE } from '../support/books.ts';
import { ALWAYS, UNAVAILABLE, WRITE_BUDGET } from '../support/faults.ts';
import { type BillProcess, startBill } from '../support/processes.ts';
import { World } from '../support/world.ts';

const REFUSED = { ...WRITE_BUDGET, times: ALWAYS, action: UNAVAILABLE } as const;

const POINTS: MishapPoint[] = ['before', 'first commit', 'second commit', 'after'];
/** `isDeleted`: the team is deleted after the charge, so that the path leads to the refund. */
const PATHS = [
  { activity: 'checkLimits', isDeleted: false },
  { activity: 'chargeStripe', isDeleted: false },
  { activity: 'recordRecharge', isDeleted: false },
  { activity: 'updateKmsQuota', isDeleted: false },
  { activity: 'refundCharge', isDeleted: true },
  // A grant closes its event itself.
  { activity: 'closeEvent', isDeleted: true },
];

/** A death costs 20 s, and the other recharges of the group wait for the new worker with it. */
const TIMEOUT_MS = 240_000;

let world: World;
let worker: BillProcess | undefined;
let stopping = false;
let boardUrl: string;

/** The point at which each event's worker dies; it dies there once. */
const doomed = new Map<string, { activity: string; point: MishapPoint }>();
const struck: MishapPoint[] = [];
const board = new MishapBoard(async ({ activity, eventId }: MishapQuestion) => {
  const fate = doomed.get(eventId);
  if (fate?.activity !== activity) return null;
  doomed.delete(eventId);
  struck.push(fate.point);
  return { point: fate.point, ending: 'dies' };
});

async function startWorker(): Promise<void> {
  const preload = `--import ${new URL('../simulation/mishaps.ts', import.meta.url).href}`;
  const started = await startBill('worker', { ...world.env, NODE_OPTIONS: preload, SIMULATION_MISHAPS_URL: boardUrl });
  worker = started;
  started.process.once('exit', () => {
    if (!stopping) void startWorker();
  });
}

async function stopWorker(): Promise<void> {
  stopping = true;
  await worker?.kill();
  stopping = false;
}

beforeAll(async () => {
  world = await World.create();
  boardUrl = await board.listen();
  await world.startApi();
});

afterAll(async () => {
  await stopWorker();
  board.close();
  await world.close();
});

test.each(PATHS)(
  'case 46: kill -9 before, during and after $activity: charged once, and granted or refunded',
  async ({ activity, isDeleted }) => {
    // The worker is started when every event has its fate.
    const running = [];
    for (const point of POINTS) {
      const organization = await world.organization();
      if (isDeleted) await world.kmsFault({ ...REFUSED, contains: organization.teamId });
      const { data } = await world.alert(organization.teamId);
      doomed.set(data.event_id, { activity, point });
      running.push({ organization, eventId: data.event_id as string });
    }
    struck.length = 0;
    await startWorker();
    if (isDeleted) {
      for (const { organization } of running) {
        await world.eventually(async () => (await world.books(organization)).prepaid === 2050, 'the charge is in the ledger', TIMEOUT_MS);
        await world.deleteTeam(organization.teamId);
      }
      await world.clearFaults();
    }
    for (const { organization, eventId } of running) {
      expect((await world.closed(eventId, TIMEOUT_MS)).outcome).toBe(isDeleted ? 'refunded' : 'succeeded');
      expect(await world.books(organization)).toEqual(isDeleted ? CHARGED_AND_REFUNDED : CHARGED_ONCE);
      if (!isDeleted) expect(await world.budgetOf(organization.teamId)).toBe(30.5);
    }
    expect(struck.toSorted()).toEqual(POINTS.toSorted());
    await stopWorker();
  },
  2 * TIMEOUT_MS,
);
