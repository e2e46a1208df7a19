/**
 * `npm run simulate:mutations`: takes one safeguard at a time out of a copy of the service and simulates
 * that, to show that the simulation would notice. Prints the table of docs/guarantees.md; ends with 1 when
 * one goes unnoticed. With words behind it, only the safeguards that hold them.
 */
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const COPIED = ['package.json', 'tsconfig.json', 'activities', 'workflows', 'src', 'sandbox', 'setup', 'test'];

const RUNS = 200;
const SEED = 1;
/** Restarts take everybody's time, and no safeguard here is about them. */
const DISTURB_EVERY = 60;

type Mutation = { safeguard: string; edits: [file: string, from: string, to: string][] };

const MUTATIONS: Mutation[] = [
  {
    safeguard: 'unique index: one open event of a crossing',
    edits: [
      [
        'src/database/migrations/0001-organizations-inbox-recharges-ledger.ts',
        'create unique index webhook_event_one_open_per_crossing',
        'create index webhook_event_one_open_per_crossing',
      ],
    ],
  },
  {
    safeguard: 'unique index: one open recharge of an organization, and the look for one under its lock',
    edits: [
      [
        'src/database/migrations/0001-organizations-inbox-recharges-ledger.ts',
        'create unique index recharge_one_open_per_organization',
        'create index recharge_one_open_per_organization',
      ],
      ['src/domain/policy.ts', "  if (history.hasOpenRecharge) return refuse('recharge_open');\n", ''],
    ],
  },
  {
    safeguard: 'the stored intent is read before anything is charged again',
    edits: [
      [
        'activities/charge-stripe.ts',
        "        return settle(em, payments, recharge, await payments.readIntent(intentIdOf(recharge)));\n      case 'declined':",
        `      {
        const card = await payments.choosePaymentMethod(recharge.stripeCustomerId);
        if (card.kind === 'none') throw new Error('no card');
        const intent = await payments.createIntent(recharge, card.id);
        await em.execute('update recharge set payment_intent_id = ? where id = ?', [intent.id, recharge.id]);
        return settle(em, payments, await recharges.get(em, recharge.id), intent);
      }
      case 'declined':`,
      ],
    ],
  },
  {
    safeguard: 'the budget is read back after it was written',
    edits: [['activities/budget-write.ts', '    live = (await kms.teamBudget(teamId)).quota;', '    live = after;']],
  },
  {
    safeguard: 'the budgets before and after are stored before the write',
    edits: [
      [
        'activities/update-kms-quota.ts',
        '      recharges.planQuotaWrite(em, recharge, live),',
        '      recharges.planQuotaWrite(em, recharge, live).then(() => ({ before: live, after: (live + recharge.quotaGranted) as typeof live })),',
      ],
    ],
  },
  {
    safeguard: 'the non-cancellable scope around everything after the charge',
    edits: [
      [
        'workflows/recharge.ts',
        '  return CancellationScope.nonCancellable(async () => {\n    const settled',
        '  return CancellationScope.cancellable(async () => {\n    const settled',
      ],
    ],
  },
  {
    safeguard: 'a refund that Stripe knows already is taken over',
    edits: [
      [
        'activities/refund-charge.ts',
        'await askedFor(payments, recharge, recharge.paymentIntentId)',
        'await (askedFor, payments.refund(recharge, recharge.paymentIntentId))',
      ],
      // biome-ignore lint/suspicious/noTemplateCurlyInString: it is a piece of the service's source.
      ['src/payments/client.ts', '/refund/${recharge.keysSpent}`', '/refund/${Math.random()}`'],
    ],
  },
  {
    safeguard: 'a status moves, and its transfer is entered, only from the status before',
    edits: [
      ['src/database/recharges.ts', 'if (moved === 1 && transfer)', 'if (transfer)'],
      ['activities/record-recharge.ts', "    if (recharge.status !== 'charging' && recharge.status !== 'processing') return;\n", ''],
    ],
  },
];

let unnoticed = 0;
console.log(`| without this safeguard | first wrong run of ${RUNS} | what was wrong |\n|---|---|---|`);
for (const { safeguard, edits } of MUTATIONS.filter(({ safeguard }) => safeguard.includes(process.argv.slice(2).join(' ')))) {
  const found = await firstWrongRun(edits);
  if (!found) unnoticed++;
  console.log(`| ${safeguard} | ${found?.run ?? '**none**'} | ${found?.what ?? ''} |`);
}
process.exit(unnoticed > 0 ? 1 : 0);

/**
 * Simulates a copy that is changed so, until a run is wrong; undefined when none is. @throws when an edit
 * does not fit the source.
 */
async function firstWrongRun(edits: Mutation['edits']): Promise<{ run: string; what: string } | undefined> {
  const copy = mkdtempSync(join(tmpdir(), 'bill-mutation-'));
  try {
    for (const name of COPIED) cpSync(join(ROOT, name), join(copy, name), { recursive: true });
    for (const name of ['node_modules', '.data']) symlinkSync(join(ROOT, name), join(copy, name));
    for (const [file, from, to] of edits) {
      const source = readFileSync(join(copy, file), 'utf8');
      if (!source.includes(from)) throw new Error(`${file} does not hold what is to be taken out:\n${from}`);
      writeFileSync(
        join(copy, file),
        source.replace(from, () => to),
      );
    }
    return await simulate(copy);
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

/** Shows the simulation's own progress, and ends it at the first wrong run. */
async function simulate(folder: string): Promise<{ run: string; what: string } | undefined> {
  const options = ['--runs', String(RUNS), '--seed', String(SEED), '--disturb-every', String(DISTURB_EVERY), '--no-shrink'];
  const child = spawn(process.execPath, ['test/simulation/main.ts', ...options], { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  let found: { run: string; what: string } | undefined;
  for await (const line of createInterface({ input: child.stdout })) {
    const wrong = /^run (\d+) is wrong: (.+)/.exec(line);
    if (!wrong) {
      if (line.includes('a second')) console.error(line);
      continue;
    }
    const [, run = '', violations = ''] = wrong;
    // That something never came to rest is told first, and says least.
    const all = violations.split('; ');
    const what = all.find((violation) => !violation.startsWith('not at rest')) ?? violations;
    found = { run, what: what.replace(/\b(evt|rch|pi|ch|re)_\w+/g, '$1_…') };
    child.kill('SIGTERM');
    break;
  }
  await ended;
  return found;
}
