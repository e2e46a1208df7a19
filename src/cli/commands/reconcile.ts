/** `bill reconcile`: runs the reconciliation now and shows its findings. */
import type { Command } from 'commander';
import type { ReconcileResult, ReconcileWorkflow } from '../../../workflows/contract.ts';
import { EXIT } from '../exit.ts';
import { type Output, print, snakeCased, withJson } from '../output.ts';
import { progress, unlessJson } from '../progress.ts';
import { tableBelow } from '../table.ts';
import { counted } from '../units.ts';
import type { RunByHand } from '../workflow-run.ts';

export function addReconcileCommand(bill: Command): void {
  withJson(
    bill
      .command('reconcile')
      .description('compare the database with Stripe and LiteLLM, and show what differs')
      .option('--fix', 'resume what is safe to resume'),
  ).action(async (options: Output & { fix?: boolean }) => {
    const { runByHand } = await import('../workflow-run.ts');
    const { reconcileProgress, WORKFLOW_TYPES } = await import('../../../workflows/contract.ts');
    const run: RunByHand<ReconcileWorkflow> = {
      type: WORKFLOW_TYPES.reconcile,
      name: 'reconcile',
      args: [{ fix: options.fix ?? false }],
      query: reconcileProgress,
      say: unlessJson(options),
    };
    const say = progress(options);
    const result = await runByHand(run, (seen, trouble) => say(compared(seen), trouble));
    if (result.findings.some(({ settled }) => !settled)) process.exitCode = EXIT.found;
    print(
      options,
      snakeCased(result),
      () => `${compared(result)}, ${counted(result.findings.length, 'finding')}${tableBelow(findingRows(result))}`,
    );
  });
}

function compared({ intents, organizations }: ReconcileResult): string {
  return `${counted(intents, 'intent')} and ${counted(organizations, 'organization')} compared`;
}

function findingRows({ findings }: ReconcileResult): Record<string, string>[] {
  return findings.map(({ kind, organizationId, subject, seen, expected, settled, command }) => ({
    kind,
    organization: organizationId,
    subject,
    seen,
    expected,
    settled: settled ? 'yes' : command,
  }));
}
