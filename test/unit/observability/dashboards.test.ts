/** The dashboards: as Grafana's schema has them, with queries of metrics that there are. test/endurance runs the queries. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { z } from 'zod';
import { DASHBOARDS, queriesOf } from '../../support/dashboards.ts';
import { isKnown, namesIn } from '../../support/metric-names.ts';

/**
 * The shape that Grafana documents, as far as these use it, with the values of the enums in `@grafana/schema` 13.2.3.
 * https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
 */
const datasource = z.strictObject({ type: z.literal('prometheus'), uid: z.string().regex(/^\$\{datasource\}$/) });
const gridPos = z.strictObject({
  h: z.int().min(1),
  w: z.int().min(1).max(24),
  x: z.int().min(0).max(23),
  y: z.int().min(0),
});
const target = z.strictObject({
  datasource,
  editorMode: z.literal('code'),
  expr: z.string().min(1),
  legendFormat: z.string(),
  range: z.boolean(),
  refId: z.string().regex(/^[A-Z]$/),
});
const panel = z.strictObject({
  id: z.int().positive(),
  type: z.enum(['timeseries', 'stat']),
  title: z.string().min(1),
  description: z.string().min(1).optional(),
  gridPos,
  datasource,
  targets: z.array(target).min(1),
  fieldConfig: z.strictObject({
    defaults: z.strictObject({
      unit: z.enum(['short', 'none', 's', 'bytes', 'ops', 'reqps', 'percentunit']),
      min: z.number().optional(),
      color: z.strictObject({ mode: z.enum(['palette-classic', 'thresholds']) }),
      custom: z.record(z.string(), z.unknown()).optional(),
      thresholds: z.strictObject({
        mode: z.enum(['absolute', 'percentage']),
        steps: z.array(z.strictObject({ color: z.string(), value: z.number().nullable() })).min(1),
      }),
    }),
    overrides: z.array(z.never()),
  }),
  options: z.record(z.string(), z.unknown()),
});
const row = z.strictObject({
  id: z.int().positive(),
  type: z.literal('row'),
  title: z.string().min(1),
  collapsed: z.boolean(),
  gridPos,
  panels: z.array(z.never()),
});
const dashboard = z.looseObject({
  id: z.null(),
  uid: z.string().regex(/^[a-z-]{1,40}$/),
  title: z.string(),
  description: z.string(),
  tags: z.tuple([z.literal('bill-service')]),
  schemaVersion: z.literal(39),
  version: z.int(),
  editable: z.boolean(),
  time: z.strictObject({ from: z.string(), to: z.string() }),
  refresh: z.string(),
  templating: z.strictObject({ list: z.array(z.looseObject({ name: z.literal('datasource'), type: z.literal('datasource') })).length(1) }),
  annotations: z.strictObject({ list: z.array(z.looseObject({ name: z.string(), enable: z.boolean(), iconColor: z.string() })) }),
  panels: z.array(z.discriminatedUnion('type', [panel, row])).min(10),
});

describe.each(DASHBOARDS)('the dashboard %s', (name) => {
  const json = JSON.parse(readFileSync(fileURLToPath(new URL(`../../../deploy/grafana/${name}.json`, import.meta.url)), 'utf8'));
  const { panels } = dashboard.parse(json);

  test('has panels with ids of their own, none over another', () => {
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const covered = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, n) => `${x + (n % w)}/${y + Math.floor(n / w)}`),
    );
    expect(new Set(covered).size).toBe(covered.length);
    expect(panels.every(({ gridPos: { x, w } }) => x + w <= 24)).toBe(true);
  });

  test('asks for metrics that there are', () => {
    const queries = queriesOf(name);
    expect(queries.length).toBeGreaterThan(10);
    expect(queries.flatMap(({ expr }) => namesIn(expr)).filter((metric) => !isKnown(metric))).toEqual([]);
  });
});
