/** The dashboards in deploy/grafana, and what they ask Prometheus. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const DASHBOARDS = ['service', 'money', 'temporal'] as const;

/** Every query of a dashboard, with Grafana's own variables replaced. */
export function queriesOf(name: (typeof DASHBOARDS)[number]): { panel: string; expr: string }[] {
  const file = fileURLToPath(new URL(`../../deploy/grafana/${name}.json`, import.meta.url));
  const { panels } = JSON.parse(readFileSync(file, 'utf8')) as { panels: { title: string; targets?: { expr: string }[] }[] };
  return panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => ({ panel: title, expr: expr.replaceAll('$__rate_interval', '1m') })),
  );
}
