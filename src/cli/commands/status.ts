/** `bill status`: what is wrong now, since when, why, and what happens next. */
import { styleText } from 'node:util';
import type { Command } from 'commander';
import { ago } from '../../domain/elapsed.ts';
import { isQuiet, ORGANIZATION_STATES, type OrganizationState, STATE_NAMES } from '../../domain/status.ts';
import { EXIT } from '../exit.ts';
import { morePages, type Output, print, withJson } from '../output.ts';
import { callService } from '../service-client.ts';

type Line = { check: string; state: 'ok' | 'wrong'; seen: string; next: string | null };
type Standing = {
  organization_id: string;
  balance: string | null;
  balance_at: string | null;
  state: OrganizationState;
  since: string | null;
  why: string | null;
  next: string | null;
};
export type Status = { at: string; service: Line[]; organizations: { total: number; data: Standing[]; next_cursor: string | null } };
type StatusOptions = Output & { watch?: boolean; all?: boolean; org?: string; limit: string; cursor?: string };

const REFRESH_MS = 2_000;
const CLEAR_TERMINAL = '\u001b[H\u001b[2J\u001b[3J';

export function addStatusCommand(bill: Command): void {
  withJson(bill.command('status').description('what is wrong now, since when, why, and what to do; ends with 3 when something is'))
    .option('--watch', 'refresh in place until Ctrl-C; with --json a line for each look')
    .option('--all', 'organizations that are fine too')
    .option('--org <id>', 'only this organization')
    .option('--limit <n>', 'at most this many organizations', '50')
    .option('--cursor <cursor>', 'continue where a page ended')
    .action(async ({ watch, all, org, limit, cursor, ...output }: StatusOptions) => {
      const query = { limit, cursor, organization_id: org, ...(all && { all: 'true' }) };
      const look = () => callService<Status>('GET', '/api/v1/status', { query });
      const text = (status: Status) => textOf(status, org);
      if (watch) return watchStatus(look, text, output);
      const status = await look();
      print(output, status, () => text(status));
      if (isWrong(status)) process.exitCode = EXIT.found;
    });
}

/** With `--json` each look is a line of JSON; one that fails is told on the other stream. */
async function watchStatus(look: () => Promise<Status>, text: (status: Status) => string, { json }: Output): Promise<never> {
  // Whoever reads has had enough, such as `head`.
  process.stdout.on('error', ({ code }: NodeJS.ErrnoException) => process.exit(code === 'EPIPE' ? 0 : EXIT.fault));
  for (;;) {
    if (json)
      await look().then(
        (status) => process.stdout.write(`${JSON.stringify(status)}\n`),
        ({ message }: Error) => console.error(message),
      );
    else {
      const shown = await look().then(text, (error: Error) => styleText('red', error.message));
      process.stdout.write(`${process.stdout.isTTY ? CLEAR_TERMINAL : '\n'}${shown}\n`);
    }
    await new Promise((resolve) => setTimeout(resolve, REFRESH_MS));
  }
}

function isWrong({ service, organizations }: Status): boolean {
  return service.some(({ state }) => state === 'wrong') || organizations.data.some(({ state }) => !isQuiet(state));
}

/**
 * The service first, then its organizations, the one that most needs somebody first.
 *
 * @param org the only one that was asked for.
 */
export function textOf({ at, service, organizations: { total, data, next_cursor: cursor } }: Status, org?: string): string {
  const width = Math.max(...service.map(({ check }) => check.length));
  const lines = service.flatMap(({ check, state, seen, next }) => [
    `${state === 'ok' ? styleText('green', 'ok   ') : styleText('red', 'WRONG')}  ${check.padEnd(width)}  ${seen}`,
    ...(next ? [toDo(next, width + 9)] : []),
  ]);
  const sorted = data.toSorted((one, other) => ORGANIZATION_STATES.indexOf(one.state) - ORGANIZATION_STATES.indexOf(other.state));
  const wrong = data.filter(({ state }) => !isQuiet(state)).length;
  const more = cursor ? `\n${morePages(cursor)}` : '';
  const counts = { org, wrong, total, isMore: cursor !== null, isServiceWrong: service.some(({ state }) => state === 'wrong') };
  return (
    [
      `service at ${at}`,
      ...lines,
      '',
      whoHasToAct(counts),
      ...sorted.flatMap((standing) => organizationLines(standing, new Date(at))),
    ].join('\n') + more
  );
}

/** What to do, behind an arrow; further lines stand below the first. */
export function toDo(next: string, indent = 0): string {
  return `${' '.repeat(indent)}→ ${next.replaceAll('\n', `\n${' '.repeat(indent + 2)}`)}`;
}

type Counts = { org: string | undefined; wrong: number; total: number; isMore: boolean; isServiceWrong: boolean };

function whoHasToAct({ org, wrong, total, isMore, isServiceWrong }: Counts): string {
  if (org !== undefined) {
    const onIt = `${wrong === 0 ? 'Nobody' : 'Somebody'} has to act on ${org}`;
    return isServiceWrong ? `Somebody has to act on the service, as WRONG says. ${onIt} itself.` : `${onIt}.`;
  }
  const organizations = `${wrong}${isMore ? ' or more' : ''}`;
  if (!isServiceWrong)
    return `${wrong === 0 ? 'Nobody has to act' : `Somebody has to act on ${organizations}`}, of ${total} organizations.`;
  const others = wrong === 0 ? `no organization of ${total} needs somebody by itself` : `and on ${organizations} of ${total} organizations`;
  return `Somebody has to act on the service, as WRONG says; ${others}.`;
}

function organizationLines({ organization_id: id, balance, balance_at: seenAt, state, since, why, next }: Standing, now: Date): string[] {
  const head = [
    styleText(isQuiet(state) ? 'green' : 'red', STATE_NAMES[state].padEnd(16)),
    id.padEnd(20),
    `balance ${balance ? `${balance} USD` : 'unknown'}${seenAt ? ` (${ago(new Date(seenAt), now)})` : ''}`,
    ...(since ? [`since ${since.slice(0, 16).replace('T', ' ')} (${ago(new Date(since), now)})`] : []),
  ].join('  ');
  return [head, ...(why ? [`                  ${why}`] : []), ...(next ? [toDo(next, 18)] : [])];
}
