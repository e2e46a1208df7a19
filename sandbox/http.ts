/**
 * The HTTP side of a stand-in: reads a request whole, lets the fault board interfere, asks the stand-in's
 * handler for an answer and writes it. A handler is a function from a request to an answer, so a fault can
 * strike before its effect or after it.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Answer, SandboxRequest } from './exchange.ts';
import { type Fault, FaultBoard } from './faults.ts';
import { refusalOfKnobBody } from './knob-body.ts';

export type SandboxServer = { url: string; port: number; faults: FaultBoard; close: () => Promise<void> };

/** A request with this header meets no fault: it does not come from the client under test. */
const SPARE_HEADER = 'x-sandbox-spare';

/** Larger than any request a client of ours makes; beyond it the connection is dropped. */
const MAX_BODY_BYTES = 1024 * 1024;

/**
 * Listens on loopback and serves `handle`, plus the knobs that every stand-in has:
 * `GET|POST|DELETE /_sandbox/faults` (see FaultBoard) and `GET /_sandbox/state`, which answers with what `state()` returns.
 *
 * @param port TCP port; 0 takes a free one.
 * @throws the listen error, EADDRINUSE for a busy port.
 */
export async function serveSandbox(options: {
  port: number;
  handle: (request: SandboxRequest, faults: FaultBoard) => Promise<Answer> | Answer;
  state: () => unknown;
  about?: (request: SandboxRequest) => string | undefined;
}): Promise<SandboxServer> {
  const faults = new FaultBoard();

  const answerTo = async (request: SandboxRequest): Promise<Answer> => {
    const refusal = refusalOfKnobBody(request);
    if (refusal) return refusal;
    if (request.path === '/_sandbox/state') return { status: 200, body: options.state() };
    if (faults.isAdministration(request)) return faults.administer(request);
    return options.handle(request, faults);
  };

  const server = createServer(async (incoming, response) => {
    try {
      const request = await readRequest(incoming);
      request.about = options.about?.(request);
      const isSpared = request.path.startsWith('/_sandbox/') || SPARE_HEADER in request.headers;
      const fault = isSpared ? undefined : faults.strike(request);
      if (fault?.when === 'before' && !(await proceedThrough({ fault, faults, response }))) return;
      const answer = await answerTo(request);
      if (fault?.when === 'after' && !(await proceedThrough({ fault, faults, response, answer }))) return;
      write(response, answer);
    } catch (error) {
      if (!response.headersSent) write(response, { status: 500, body: { error: { message: String(error) } } });
      else response.destroy();
    }
  });
  server.keepAliveTimeout = 30_000;

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    faults,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function readRequest(incoming: IncomingMessage): Promise<SandboxRequest> {
  const url = new URL(incoming.url ?? '/', 'http://sandbox');
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw new Error(`request body is over ${MAX_BODY_BYTES} bytes`);
    chunks.push(chunk);
  }
  const headers = Object.fromEntries(
    Object.entries(incoming.headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : (value ?? '')]),
  );
  return {
    method: incoming.method ?? 'GET',
    path: url.pathname,
    query: url.searchParams,
    headers,
    body: Buffer.concat(chunks).toString('utf8'),
  };
}

function encode(body: unknown): string {
  return typeof body === 'string' ? body : JSON.stringify(body);
}

function write(response: ServerResponse, answer: Answer): void {
  const text = encode(answer.body);
  response.writeHead(answer.status, {
    'content-type': typeof answer.body === 'string' ? 'text/plain; charset=utf-8' : 'application/json',
    'content-length': Buffer.byteLength(text),
    ...answer.headers,
  });
  response.end(text);
}

type Strike = { fault: Fault; faults: FaultBoard; response: ServerResponse; answer?: Answer };

/**
 * Lets a fault act on the connection. Returns true when the request goes on as if nothing had happened (a
 * delay that has passed, a hold that was released), false when the fault has had the last word.
 */
async function proceedThrough({ fault, faults, response, answer }: Strike): Promise<boolean> {
  const { action } = fault;
  switch (action.kind) {
    case 'delay':
      await new Promise((resolve) => setTimeout(resolve, action.ms));
      return true;
    case 'hold':
      await faults.released(fault);
      return true;
    case 'respond':
      write(response, { status: action.status, body: action.body ?? '', ...(action.headers && { headers: action.headers }) });
      return false;
    case 'reset':
      response.socket?.resetAndDestroy();
      return false;
    case 'cut_body': {
      // Promises the whole body, sends half of it, then drops the connection.
      const text = encode(answer?.body ?? { cut: 'before the effect' });
      response.writeHead(answer?.status ?? 200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
      response.write(text.slice(0, Math.floor(text.length / 2)), () => response.destroy());
      return false;
    }
    case 'hang':
      // Headers may or may not go out; the body never does. The client's own deadline has to end this.
      if (action.after_headers) {
        response.writeHead(answer?.status ?? 200, { 'content-type': 'application/json' });
        response.flushHeaders();
      }
      return false;
  }
}
