/**
 * Sends alerts from a process of its own: `startSender` starts it, and this file is what it runs.
 *
 * Each alert has a body and a signature of its own. autocannon signs each one while it sends, which costs it as much
 * as the service needs for an answer, on the same cores. Here every request is built and signed before the clock
 * starts, and written to the socket as it is.
 */
import { fork } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';

export type Load = {
  port: number;
  secret: string;
  /** Marks the alerts of this load: part of each delivery id. */
  mark: string;
  count: number;
  /** Alert n is of team `<team><n modulo teams>`. */
  team: string;
  teams: number;
  event: string;
  /** The budget that the alerts report: another budget is another crossing. */
  budget: number;
  /** Alerts that wait for their answer at once. */
  connections: number;
  /** Alerts a second; without it, each connection sends the next one as soon as the last is answered. */
  rate?: number;
};

/** How often each status was answered: of HTTP when it is not 200, else of the body. */
export type Sent = { seconds: number; answers: Record<string, number>; latenciesMs: number[] };

const PATH = '/webhooks/litellm/limit-exceeded';

export type Sender = { send: (load: Load) => Promise<Sent>; stop: () => void };

export function startSender(): Sender {
  const child = fork(fileURLToPath(import.meta.url));
  return {
    send: (load) =>
      new Promise((resolve, reject) => {
        const failed = (code: number | null) => reject(new Error(`the sender has ended with ${code}`));
        child.once('exit', failed);
        child.once('message', (sent) => {
          child.off('exit', failed);
          resolve(sent as Sent);
        });
        child.send(load);
      }),
    stop: () => child.kill(),
  };
}

process.on('message', (load: Load) => {
  void sendAll(load).then((sent) => process.send?.(sent));
});

/** One request, as its bytes. The alert is LiteLLM's, with every null present. */
function requestOf({ port, secret, mark, team, teams, event, budget }: Load, n: number, at: number): Buffer {
  const body = JSON.stringify({
    spend: budget + 0.5 + n / 1e6,
    max_budget: budget,
    soft_budget: null,
    token: '88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b',
    customer_id: null,
    user_id: 'u1',
    team_id: `${team}${n % teams}`,
    team_alias: 'acme',
    organization_id: null,
    user_email: null,
    key_alias: null,
    projected_exceeded_date: null,
    projected_spend: null,
    event_group: 'team',
    alert_emails: null,
    max_budget_alert_emails: null,
    event,
    event_message: `Team Budget: Budget Crossed\n Total Budget:\`${budget}\``,
  });
  const id = `msg_${mark}_${n}`;
  const signature = createHmac('sha256', secret).update(`${id}.${at}.${body}`).digest('base64');
  return Buffer.from(
    `POST ${PATH} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Type: application/json\r\nwebhook-id: ${id}\r\nwebhook-timestamp: ${at}\r\n` +
      `webhook-signature: v1,${signature}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

async function sendAll(load: Load): Promise<Sent> {
  const at = Math.floor(Date.now() / 1000);
  const requests = Array.from({ length: load.count }, (_, n) => requestOf(load, n, at));
  const sockets = await Promise.all(Array.from({ length: load.connections }, () => opened(load.port)));
  const answers: Record<string, number> = {};
  const latenciesMs: number[] = [];
  const started = performance.now();
  /** At a rate, an alert's time begins when it is due, also where no connection is free: it waits, as a client would. */
  const dueAt = (n: number) => (load.rate ? started + (n / load.rate) * 1000 : performance.now());
  let next = 0;

  const sendOnce = async (socket: Socket, n: number) => {
    const due = dueAt(n);
    const wait = due - performance.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    const status = await answerOf(socket, requests[n] as Buffer);
    latenciesMs.push(performance.now() - due);
    answers[status] = (answers[status] ?? 0) + 1;
  };
  const sendNext = async (socket: Socket) => {
    while (next < requests.length) await sendOnce(socket, next++);
  };
  await Promise.all(sockets.map(sendNext));
  const seconds = (performance.now() - started) / 1000;
  for (const socket of sockets) socket.destroy();
  return { seconds, answers, latenciesMs };
}

function opened(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true }, () => resolve(socket));
    socket.once('error', reject);
  });
}

/** Sends a request and reads its answer, which is small and has a length. */
function answerOf(socket: Socket, request: Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const read = (chunk: Buffer) => {
      text += chunk.toString('latin1');
      const end = text.indexOf('\r\n\r\n');
      if (end === -1) return;
      const length = Number(/content-length: (\d+)/i.exec(text)?.[1]);
      if (text.length < end + 4 + length) return;
      socket.off('data', read);
      socket.off('close', lost);
      const status = text.slice('HTTP/1.1 '.length, 'HTTP/1.1 200'.length);
      resolve(status === '200' ? (/"status":"(\w+)"/.exec(text)?.[1] ?? 'without a status') : status);
    };
    const lost = () => reject(new Error('the connection was closed before the answer'));
    socket.on('data', read);
    socket.once('close', lost);
    socket.write(request);
  });
}
