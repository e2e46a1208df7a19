/**
 * A tap on the line between a Stripe client and a server: it notes every call, and can falsify a parameter on
 * the way.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

/** Such as `GET /v1/customers/:id`. */
export type Route = string;
/** `parameters` are names; what is in `metadata` is up to the caller. */
export type Call = { route: Route; parameters: string[]; status: number };
/**
 * What becomes of one parameter, with what is nested in it, of the calls to one route; undefined takes it
 * away.
 */
export type Falsification = { route: Route; parameter: string; value: string | undefined };

export type Tap = {
  url: string;
  calls: Call[];
  falsification: Falsification | undefined;
  close: () => Promise<void>;
};

/**
 * A customer's answer without a default payment method, so that its cards are listed: Stripe's mock gives one to
 * every customer whose default is expanded.
 */
function withoutDefault(answer: string): string {
  const body = JSON.parse(answer);
  if (body.object !== 'customer' || !body.invoice_settings) return answer;
  return JSON.stringify({ ...body, invoice_settings: { ...body.invoice_settings, default_payment_method: null } });
}

/** Opens a tap on a free port of loopback. */
export async function openTap(target: string): Promise<Tap> {
  const tap: Tap = { url: '', calls: [], falsification: undefined, close: async () => {} };
  const server = createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '', target);
    const body = await text(request);
    const inQuery = request.method === 'GET';
    const parameters = inQuery ? searchParams : new URLSearchParams(body);
    const route = `${request.method} ${pathname.replace(/\/(ch|cus|issfr|pi)_\w+/, '/:id')}`;
    const { falsification } = tap;
    if (falsification?.route === route) {
      const { parameter, value } = falsification;
      for (const name of [...parameters.keys()]) if (name === parameter || name.startsWith(`${parameter}[`)) parameters.delete(name);
      if (value !== undefined) parameters.set(parameter, value);
    }
    const headers = Object.entries(request.headers).filter(([name]) => !['host', 'connection', 'content-length'].includes(name));
    const answer = await fetch(`${target}${pathname}${inQuery && parameters.size > 0 ? `?${parameters}` : ''}`, {
      method: request.method ?? 'GET',
      headers: headers as [string, string][],
      ...(!inQuery && { body: parameters.toString() }),
    });
    const names = new Set([...parameters.keys()].map((name) => name.replace(/^metadata\[.*$/, 'metadata')));
    tap.calls.push({ route, parameters: [...names].sort(), status: answer.status });
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(withoutDefault(await answer.text()));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  tap.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  tap.close = () =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return tap;
}
