import { rmSync } from 'node:fs';
import { dirname } from 'node:path';

export default async function globalTeardown(): Promise<void> {
  await Promise.all(globalThis.sharedServers.map((server) => server.stop()));
  const data = globalThis.sharedServers[0]?.ready['data'];
  if (data) rmSync(dirname(data), { recursive: true, force: true });
}
