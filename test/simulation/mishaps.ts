/**
 * Loaded into a real `bill worker` before it (`node --import`): lets its activities fail or take the process
 * with them, exactly where a schedule says, without a change to the service.
 *
 * Before each activity the simulation is asked what is to happen in it. Commits are counted where the service
 * makes them, on the entity manager of a unit of work: right after one, "commit done, acknowledgement lost"
 * is an error from the driver.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { Context } from '@temporalio/activity';
import { Worker } from '@temporalio/worker';
import { Database } from '../../src/database/database.ts';
import type { DriverError, Mishap, MishapQuestion } from './mishap-board.ts';

/** The mishap of the activity that runs, and how many commits it has made; of how many statements each. */
const current = new AsyncLocalStorage<{ mishap: Mishap | null; commits: number; transactions: number }>();

const COMMITTING = ['transactional', 'nativeUpdate', 'execute'] as const;
const COMMIT_NUMBERS = { 'first commit': 1, 'second commit': 2 } as const;

/** As node-postgres words them, with PostgreSQL's code where it is the server that speaks. */
const DRIVER_ERRORS: Record<DriverError, [message: string, code?: string]> = {
  'connection lost': ['Connection terminated unexpectedly', '08006'],
  'serialization failure': ['could not serialize access due to concurrent update', '40001'],
  'pool exhausted': ['timeout exceeded when trying to connect'],
};

function strike({ ending, error = 'connection lost' }: Mishap): void {
  if (ending === 'dies') process.kill(process.pid, 'SIGKILL');
  const [message, code] = DRIVER_ERRORS[error];
  throw Object.assign(new Error(message), { code });
}

function committed(by: (typeof COMMITTING)[number]): void {
  const running = current.getStore();
  if (!running?.mishap) return;
  running.commits++;
  if (by === 'transactional') running.transactions++;
  const { point } = running.mishap;
  if (point === 'first transaction' && by === 'transactional' && running.transactions === 1) strike(running.mishap);
  if ((point === 'first commit' || point === 'second commit') && running.commits === COMMIT_NUMBERS[point]) strike(running.mishap);
}

const fork = Database.prototype.fork;
Database.prototype.fork = function () {
  const em = fork.call(this);
  for (const name of COMMITTING) {
    const original = em[name].bind(em) as (...given: unknown[]) => Promise<unknown>;
    Object.assign(em, {
      [name]: async (...given: unknown[]) => {
        const result = await original(...given);
        committed(name);
        return result;
      },
    });
  }
  return em;
};

type Activity = (input: unknown) => Promise<unknown>;

function exposed(name: string, activity: Activity): Activity {
  return async (input) => {
    const { workflowExecution } = Context.current().info;
    const mishap = await ask({ activity: name, eventId: workflowExecution?.workflowId.replace(/^recharge\/[^/]*\//, '') ?? '' });
    if (mishap?.point === 'before') strike(mishap);
    const result = await current.run({ mishap, commits: 0, transactions: 0 }, () => activity(input));
    if (mishap?.point === 'after') strike(mishap);
    return result;
  };
}

async function ask(question: MishapQuestion): Promise<Mishap | null> {
  const answer = await fetch(process.env['SIMULATION_MISHAPS_URL'] ?? '', { method: 'POST', body: JSON.stringify(question) });
  return (await answer.json()) as Mishap | null;
}

const create = Worker.create.bind(Worker);
Worker.create = (options) =>
  create({
    ...options,
    activities: Object.fromEntries(
      Object.entries(options.activities ?? {}).map(([name, activity]) => [name, exposed(name, activity as Activity)]),
    ),
  });
