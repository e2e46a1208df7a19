/** The HTTP API of the running service. */
import { CommandError, EXIT, type ExitCode } from './exit.ts';
import { fetchWithin } from './fetch.ts';
import { type DevAddress, publicUrl, serviceSetting } from './service-settings.ts';

const DEADLINE_MS = 15_000;

/** What went wrong at the service, in a sentence for the terminal. */
export class ServiceError extends CommandError {
  override name = 'ServiceError';
}

/** Calls the admin API. @throws ServiceError with the problem's own detail. */
export async function callService<T>(
  method: 'GET' | 'POST' | 'PATCH',
  path: string,
  { body, query = {} }: { body?: object; query?: Record<string, string | undefined> } = {},
): Promise<T> {
  const given = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const search = given.length > 0 ? `?${new URLSearchParams(given)}` : '';
  return answerOf<T>(`${publicUrl()}${path}${search}`, 'ADMIN_API_KEY', {
    method,
    headers: { authorization: `Bearer ${serviceSetting('ADMIN_API_KEY')}`, ...(body && { 'content-type': 'application/json' }) },
    ...(body && { body: JSON.stringify(body) }),
  });
}

/** What a command line can be changed about, by the status of the problem. */
const EXIT_CODES: Readonly<Record<number, ExitCode>> = {
  400: EXIT.usage,
  401: EXIT.settings,
  403: EXIT.settings,
  404: EXIT.usage,
  409: EXIT.usage,
  415: EXIT.usage,
  422: EXIT.usage,
};

/**
 * The JSON that the service answers.
 *
 * @param proof the setting by which the service knows us.
 * @throws ServiceError when it does not answer, or with the problem that it answers.
 */
export async function answerOf<T>(url: string, proof: keyof DevAddress, init: RequestInit): Promise<T> {
  const { status, ok, text } = await fetchWithin(DEADLINE_MS, url, init)
    .then(async (response) => ({ status: response.status, ok: response.ok, text: await response.text() }))
    .catch((error: Error) => {
      throw new ServiceError(
        `the service does not answer at ${publicUrl()}: ${error.message}. Start it (npm start, or bill serve), or set PUBLIC_URL to where it is`,
      );
    });
  const answer = jsonIn(text);
  if (ok && answer !== undefined) return answer as T;
  const exitCode = EXIT_CODES[status] ?? EXIT.fault;
  if (!answer?.title) {
    const next = `Is another service there? PUBLIC_URL says where ours is`;
    throw new ServiceError(`${publicUrl()} answered ${status} and nothing that bill-service says. ${next}`, exitCode);
  }
  const next = exitCode === EXIT.settings ? ` (set ${proof} to the one of the service at ${publicUrl()})` : '';
  throw new ServiceError(`${answer.title}: ${answer.detail ?? 'no detail'}${next}`, exitCode);
}

function jsonIn(text: string): { title?: string; detail?: string } | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // Something else answers there: a proxy, or another service.
  }
}
