/** Which metrics an expression of Prometheus names, and whether there are such. */
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { METRICS, type MetricName } from '../../src/observability/catalogue.ts';
import { RULES_FILE } from './prometheus.ts';

export type Rule = {
  alert?: string;
  record?: string;
  expr: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
};

/** The rules of deploy/prometheus/rules.yml, in their order. */
export const RULES: readonly Rule[] = parse(readFileSync(RULES_FILE, 'utf8')).groups.flatMap(({ rules }: { rules: Rule[] }) => rules);

/** Metrics of Node.js and of Temporal's SDK, which others make, and of Prometheus itself. */
const FOREIGN = /^(up|nodejs_\w+|process_\w+|temporal_\w+)$/;

/** The names in an expression that stand for metrics. */
export function namesIn(expression: string): string[] {
  const bare = expression.replace(/"[^"]*"/g, '').replace(/\{[^}]*\}/g, '');
  return [...bare.matchAll(/(?<![\w:])(?:(?:bill|nodejs|process|temporal)[_:][\w:]+|up)(?![\w:])/g)].map(([name]) => name);
}

export function isKnown(name: string): boolean {
  if (FOREIGN.test(name) || RULES.some(({ record }) => record === name)) return true;
  const histogram = /^(.+)_(bucket|count|sum)$/.exec(name)?.[1];
  return name in METRICS || (histogram !== undefined && METRICS[histogram as MetricName]?.type === 'histogram');
}
