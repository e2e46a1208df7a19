/**
 * Imports point inward. The linter holds it, types included (`overrides` in biome.jsonc); here is what its
 * rules have to refuse and to let through, so that a rule that stopped matching is noticed.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from '@jest/globals';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** A file of each room, what it may import and what it may not. */
const ROOMS: Record<string, { allowed: string[]; refused: string[] }> = {
  'src/domain/x.ts': { allowed: ['./money.ts', 'node:crypto'], refused: ['../database/page.ts', '../kms/errors.ts', 'node:fs', 'zod'] },
  'src/database/x.ts': {
    allowed: ['./page.ts', '../domain/money.ts', 'pg'],
    refused: ['../kms/errors.ts', '../http/problem.ts', 'stripe'],
  },
  'src/kms/x.ts': { allowed: ['./errors.ts', '../domain/money.ts', '../gate.ts', 'axios'], refused: ['../database/page.ts', 'stripe'] },
  'src/payments/x.ts': {
    allowed: ['../domain/money.ts', '../gate.ts', 'stripe'],
    refused: ['../database/entities.ts', '../kms/errors.ts', 'axios'],
  },
  'src/outbox/x.ts': {
    allowed: ['../domain/webhook-key.ts', '../database/page.ts', '../inbox/dispatcher.ts', 'axios', 'zod'],
    refused: ['../inbox/alert.ts', '../kms/client.ts', 'stripe'],
  },
  'src/observability/x.ts': {
    allowed: ['pino', 'prom-client', '../domain/money.ts'],
    refused: ['../database/page.ts', '../kms/errors.ts', 'axios'],
  },
  'src/teams/x.ts': {
    allowed: ['../database/teams.ts', '../kms/client.ts'],
    refused: ['../http/problem.ts', '../payments/client.ts', 'axios'],
  },
  'src/inbox/x.ts': {
    allowed: ['../database/page.ts', '../payments/events.ts', '../workflow-starter.ts'],
    refused: ['../temporal/starter.ts', '../http/problem.ts', '../kms/client.ts', 'stripe'],
  },
  'src/http/x.ts': {
    allowed: ['../inbox/alert.ts', '../outbox/addresses.ts', '../payments/events.ts', '../workflow-starter.ts', 'express'],
    refused: [
      '../outbox/post.ts',
      '../temporal/starter.ts',
      '../../activities/index.ts',
      '@temporalio/client',
      '../cli/table.ts',
      'stripe',
      'axios',
    ],
  },
  'src/temporal/x.ts': {
    allowed: ['../../activities/index.ts', '../../workflows/contract.ts', '../config.ts'],
    refused: ['../kms/client.ts', '../payments/client.ts', '../http/app.ts'],
  },
  'src/cli/x.ts': { allowed: ['../api.ts', 'commander'], refused: ['stripe', 'axios'] },
  'src/api.ts': { allowed: ['./http/app.ts', './payments/client.ts'], refused: ['stripe', 'axios'] },
  'src/worker.ts': { allowed: ['./kms/client.ts', './payments/client.ts'], refused: ['stripe', 'axios'] },
  'activities/recharge/x.ts': {
    allowed: ['../dependencies.ts', '../../src/payments/client.ts', '../../src/workflow-starter.ts', '@temporalio/activity'],
    refused: ['../../src/temporal/starter.ts', '../../src/http/problem.ts', '../../workflows/contract.ts', 'stripe', 'axios'],
  },
  'workflows/x.ts': {
    allowed: ['./contract.ts', '../src/domain/money.ts', '../src/temporal/search-attributes.ts', '@temporalio/workflow'],
    refused: ['../src/database/page.ts', '../src/temporal/starter.ts', 'node:crypto', 'zod', '@temporalio/client'],
  },
  'sandbox/stripe/x.ts': { allowed: ['../http.ts', '../../setup/progress.mjs'], refused: ['../../src/domain/money.ts'] },
};

let copy: string;
let refusedImports: Set<string>;

/** Lints files that hold one import each, in a copy of the layout. */
beforeAll(() => {
  copy = mkdtempSync(join(tmpdir(), 'bill-architecture-'));
  copyFileSync(join(ROOT, 'biome.jsonc'), join(copy, 'biome.jsonc'));
  for (const [file, { allowed, refused }] of Object.entries(ROOMS)) {
    for (const target of [...allowed, ...refused]) {
      const path = join(copy, caseFile(file, target));
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, `import type { something } from '${target}';\nexport type Something = typeof something;\n`);
    }
  }
  const biome = join(ROOT, 'node_modules/.bin/biome');
  const args = ['lint', '--vcs-enabled=false', '--only=style/noRestrictedImports', '--reporter=json', '--max-diagnostics=none', '.'];
  const { stdout, stderr } = spawnSync(biome, args, { cwd: copy, encoding: 'utf8' });
  const report = JSON.parse(stdout || `{"diagnostics":null,"stderr":${JSON.stringify(stderr)}}`);
  refusedImports = new Set(report.diagnostics.map(({ location }: { location: { path: string } }) => location.path));
});

afterAll(() => rmSync(copy, { recursive: true, force: true }));

/** One file for one import: beside the room's file, so that the same rules apply. */
function caseFile(file: string, target: string): string {
  return file.endsWith('/x.ts')
    ? file.replace(/x\.ts$/, `x-${target.replaceAll(/\W/g, '_')}.ts`)
    : `src/x-${target.replaceAll(/\W/g, '_')}.ts`;
}

test.each(Object.entries(ROOMS))('%s imports what is inward of it and nothing else', (file, { allowed, refused }) => {
  const isRefused = (target: string) => refusedImports.has(caseFile(file, target));
  expect(allowed.filter(isRefused)).toEqual([]);
  expect(refused.filter((target) => !isRefused(target))).toEqual([]);
});

// The linter cannot tell a type from a value here, and a value would bring activity code into the workflows'
// bundle.
test('workflows import nothing but types from the activities', () => {
  const values = readdirSync(join(ROOT, 'workflows')).flatMap((name) =>
    readFileSync(join(ROOT, 'workflows', name), 'utf8')
      .split('\n')
      .filter((line) => line.includes("from '../activities") && !line.startsWith('import type ')),
  );
  expect(values).toEqual([]);
});
