/** What a person pastes into a terminal, and what the lists say then. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { alertByHand } from '../../src/cli/dev/banner.ts';
import { OWN_SETTINGS } from '../../src/cli/dev/embedded.ts';
import { RECHARGED } from '../support/books.ts';
import { runBill } from '../support/processes.ts';
import { HMAC_SECRET, World } from '../support/world.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** A process that outlives this hangs. */
const TIMEOUT_MS = 120_000;
/** sysexits.h EX_CONFIG. */
const EX_CONFIG = 78;

let world: World;
beforeAll(async () => {
  const { WEBHOOK_HMAC_SECRETS, WEBHOOK_URL_TOKENS } = OWN_SETTINGS;
  // Beside the one that the tests sign with.
  world = await World.start({ WEBHOOK_HMAC_SECRETS: `${WEBHOOK_HMAC_SECRETS},${HMAC_SECRET}`, WEBHOOK_URL_TOKENS });
});
afterAll(() => world.close());

type Ended = { code: number | null; out: string; err: string };

function inProcess(program: string, args: string[], env: Record<string, string> = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const options = { env: { PATH: process.env['PATH'], ...env }, cwd: tmpdir(), timeout: TIMEOUT_MS };
    const child = execFile(program, args, options, (_error, out, err) => resolve({ code: child.exitCode, out, err }));
  });
}

describe('an alert by hand', () => {
  const accepted = { event_id: expect.stringMatching(/^evt_/), status: 'accepted' };

  test('as `bill dev` prints it is accepted when it is pasted, and charges', async () => {
    await world.organization({ teamId: 'acme' });
    const { out, err } = await inProcess('sh', ['-c', alertByHand(world.apiUrl, {})]);
    expect([JSON.parse(out || 'null'), err]).toEqual([accepted, expect.anything()]);
    expect(await world.closed(JSON.parse(out).event_id)).toEqual(RECHARGED);
  });

  test('with a token of the operator takes it from the environment', async () => {
    const command = alertByHand(world.apiUrl, { WEBHOOK_URL_TOKENS: 'set' });
    const WEBHOOK_URL_TOKENS = `${OWN_SETTINGS.WEBHOOK_URL_TOKENS},another-token`;
    const { out } = await inProcess('sh', ['-c', command.replaceAll('acme', 'nobodys-team-by-token')], { WEBHOOK_URL_TOKENS });
    expect(JSON.parse(out)).toEqual(accepted);
  });

  test('as the README signs it is accepted, and again', async () => {
    const readme = readFileSync(`${ROOT}/README.md`, 'utf8');
    const [, block = ''] = readme.split('### An alert by hand')[1]?.split('```\n') ?? [];
    const script = block.replace(/URL=\S+/, `URL=${world.apiUrl}`).replaceAll('"acme"', '"nobodys-team-by-hand"');
    expect(script).toContain(world.apiUrl);
    const ended = await Promise.all([inProcess('bash', ['-c', script]), inProcess('bash', ['-c', script])]);
    for (const { out } of ended) expect(['accepted', 'duplicate']).toContain(JSON.parse(out).status);
  });
});

test('bill recharges says of a recharge that its money has gone back', async () => {
  const env = { PUBLIC_URL: world.apiUrl, ADMIN_API_KEY: world.env['ADMIN_API_KEY'] ?? '' };
  const { organization, rechargeId, intentId } = await world.recharged();
  const refund = await world.stripe.refunds.create({ payment_intent: intentId, amount: 500 });
  await world.reconcile();
  await world.reversalIs(refund.id, 'taken_back');
  const row = async () => (await runBill(['recharges', organization.id], env)).out.split('\n').find((line) => line.includes(rechargeId));
  expect(await row()).toContain('succeeded, 5.00 USD returned');
  const rest = await world.stripe.refunds.create({ payment_intent: intentId });
  await world.reconcile();
  await world.reversalIs(rest.id, 'taken_back');
  expect(await row()).toMatch(/succeeded, returned /);
});

test('bill dev beside a database of production ends before it has started anything', async () => {
  const ended = await runBill(['dev'], { DATABASE_URL: world.config.databaseUrl, KMS_BASE_URL: world.config.kms.baseUrl });
  expect(ended).toMatchObject({ code: EX_CONFIG, out: '' });
  expect(ended.err).toContain('--allow-real database,litellm');
});
