/** Runs the Stripe stand-in as a server of its own. */
import { runServer } from '../process.ts';
import { startStripe } from './server.ts';

await runServer(
  'stripe',
  {
    port: { type: 'string', default: '12111', help: 'TCP port on loopback, 0 for a free one' },
    state: { type: 'string', help: 'JSON file that keeps customers, payments and idempotency keys; absent keeps them in memory' },
    'webhook-url': { type: 'string', help: 'where events are posted to' },
    'webhook-secret': { type: 'string', help: 'signs them, whsec_…' },
    'settle-after-ms': { type: 'string', help: 'bank debits succeed after this long; absent waits for the knob' },
    'latency-ms': { type: 'string', default: '0', help: 'every API call takes this long' },
  },
  async (values) => {
    const url = values['webhook-url'];
    const secret = values['webhook-secret'];
    if (Boolean(url) !== Boolean(secret)) throw new Error('--webhook-url and --webhook-secret go together');
    const server = await startStripe({
      port: whole('port', values.port),
      latencyMs: whole('latency-ms', values['latency-ms']),
      ...(values.state && { stateFile: values.state }),
      ...(values['settle-after-ms'] && { settleAfterMs: whole('settle-after-ms', values['settle-after-ms']) }),
      ...(url && secret && { webhook: { url, secret } }),
    });
    return { ready: { url: server.url }, stop: server.close };
  },
);

function whole(option: string, value: string): number {
  if (!/^\d+$/.test(value)) throw new Error(`--${option} takes a whole number, not ${value}`);
  return Number(value);
}
