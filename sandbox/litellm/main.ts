/** `node sandbox/litellm/main.ts --port 4000`: the LiteLLM stand-in as a process of its own. */
import { runServer } from '../process.ts';
import { startLitellm } from './server.ts';
import { DEFAULTS } from './settings.ts';
import { VERSIONS } from './version.ts';

await runServer(
  'litellm',
  {
    port: { type: 'string', default: '4000', help: 'TCP port on 127.0.0.1; 0 takes a free one' },
    version: { type: 'string', default: DEFAULTS.version, help: `which LiteLLM it answers like: ${VERSIONS.join(' or ')}` },
    state: { type: 'string', help: 'JSON file that keeps teams, keys and users across restarts' },
    'master-key': { type: 'string', default: DEFAULTS.master_key, help: 'the proxy admin key' },
    'webhook-url': { type: 'string', help: 'where budget alerts are posted; none are sent without it' },
    'alert-ttl-s': { type: 'string', default: String(DEFAULTS.alert_ttl_s), help: 'seconds without a repeat of the same alert' },
    'alert-copies': { type: 'string', default: String(DEFAULTS.alert_copies), help: 'copies of each alert, as from that many workers' },
    'spend-lag-ms': { type: 'string', default: String(DEFAULTS.spend_lag_ms), help: 'milliseconds until /team/info shows new spend' },
    'call-cost': { type: 'string', default: String(DEFAULTS.call_cost), help: 'US dollars that one chat completion costs' },
  },
  async (values) => {
    const server = await startLitellm({
      port: amount(values, 'port'),
      version: versionIn(values['version']),
      ...(values['state'] && { stateFile: values['state'] }),
      master_key: values['master-key'],
      webhook_url: values['webhook-url'] ?? null,
      alert_ttl_s: amount(values, 'alert-ttl-s'),
      alert_copies: amount(values, 'alert-copies'),
      spend_lag_ms: amount(values, 'spend-lag-ms'),
      call_cost: amount(values, 'call-cost'),
    });
    return { ready: { url: server.url }, stop: server.close };
  },
);

/** @throws for a version that it cannot play. */
function versionIn(wanted: string): (typeof VERSIONS)[number] {
  const version = VERSIONS.find((known) => known === wanted);
  if (!version) throw new Error(`--version is ${VERSIONS.join(' or ')}`);
  return version;
}

/** @throws for an option that is not a number of at least 0. */
function amount(values: Record<string, string>, option: string): number {
  const value = Number(values[option]);
  if (values[option]?.trim() === '' || !Number.isFinite(value) || value < 0)
    throw new Error(`--${option} has to be a number of at least 0`);
  return value;
}
