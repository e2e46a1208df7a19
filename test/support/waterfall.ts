/**
 * Draws the trace of an alert, of what the OpenTelemetry Collector's file exporter has written:
 *
 *   node_modules/.bin/node test/support/waterfall.ts <traces.json> <picture.svg>
 *
 * Of several traces it takes the largest one. See otel-collector/config.yaml beside this.
 */
import { readFileSync, writeFileSync } from 'node:fs';

type KeyValue = { key: string; value: { stringValue?: string; intValue?: string; boolValue?: boolean } };
type OtlpSpan = {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes?: KeyValue[];
  status?: { code?: number };
};
type Line = { resourceSpans: { resource: { attributes: KeyValue[] }; scopeSpans: { spans: OtlpSpan[] }[] }[] };

type Drawn = { span: OtlpSpan; process: string; depth: number };

const WIDTH = 1200;
const LABELS = 430;
const ROW = 19;
const TOP = 64;
const COLORS = ['#2563eb', '#0d9488', '#9333ea', '#c2650b'];
const FAILED = '#dc2626';
/** OpenTelemetry's code of a status. */
const ERROR = 2;

const [input = '', output = ''] = process.argv.slice(2);
const spans = readFileSync(input, 'utf8')
  .split('\n')
  .filter(Boolean)
  .flatMap((line) => (JSON.parse(line) as Line).resourceSpans)
  .flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap((scope) => scope.spans.map((span) => ({ span, process: processOf(resource.attributes) }))),
  );
const traces = Map.groupBy(spans, ({ span }) => span.traceId);
const [trace = []] = [...traces.values()].toSorted((a, b) => b.length - a.length);
writeFileSync(output, picture(inOrder(trace)));
console.log(`${trace.length} spans of trace ${trace[0]?.span.traceId}`);

function attribute(attributes: KeyValue[], name: string): string {
  const { stringValue, intValue, boolValue } = attributes.find(({ key }) => key === name)?.value ?? {};
  return stringValue ?? intValue ?? (boolValue === undefined ? '' : String(boolValue));
}

function processOf(attributes: KeyValue[]): string {
  return `${attribute(attributes, 'service.name')} ${attribute(attributes, 'process.pid')}`;
}

function millisecondsOf(nanoseconds: string): number {
  return Number(BigInt(nanoseconds) / 1000n) / 1000;
}

/** Each below the one that it belongs to, the earliest first. */
function inOrder(all: Omit<Drawn, 'depth'>[]): Drawn[] {
  const ids = new Set(all.map(({ span }) => span.spanId));
  const children = Map.groupBy(all, ({ span }) => (span.parentSpanId && ids.has(span.parentSpanId) ? span.parentSpanId : ''));
  const below = (id: string, depth: number): Drawn[] =>
    (children.get(id) ?? [])
      .toSorted((a, b) => millisecondsOf(a.span.startTimeUnixNano) - millisecondsOf(b.span.startTimeUnixNano))
      .flatMap((each) => [{ ...each, depth }, ...below(each.span.spanId, depth + 1)]);
  return below('', 0);
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}

function picture(rows: Drawn[]): string {
  const start = Math.min(...rows.map(({ span }) => millisecondsOf(span.startTimeUnixNano)));
  const end = Math.max(...rows.map(({ span }) => millisecondsOf(span.endTimeUnixNano)));
  const x = (ms: number) => LABELS + ((ms - start) / (end - start)) * (WIDTH - LABELS - 90);
  const processes = [...new Set(rows.map((row) => row.process))];
  const colorOf = (name: string) => COLORS[processes.indexOf(name) % COLORS.length] ?? '';
  const height = TOP + rows.length * ROW + 12;
  const seconds = Math.ceil((end - start) / 1000);
  const step = Math.max(1, Math.ceil(seconds / 10));
  const ticks = Array.from({ length: Math.floor((end - start) / 1000 / step) + 1 }, (_, n) => n * step).map((second) => {
    const at = x(start + second * 1000);
    return `<line x1="${at}" y1="${TOP - 8}" x2="${at}" y2="${height}" stroke="#e5e7eb"/><text x="${at}" y="${TOP - 12}" fill="#6b7280" text-anchor="middle">${second} s</text>`;
  });
  const legend = processes.map((name, index) => {
    const left = 12 + index * 190;
    return `<rect x="${left}" y="12" width="12" height="12" rx="2" fill="${colorOf(name)}"/><text x="${left + 18}" y="22">${escaped(name)}</text>`;
  });
  legend.push(
    `<rect x="${12 + processes.length * 190}" y="12" width="12" height="12" rx="2" fill="${FAILED}"/><text x="${30 + processes.length * 190}" y="22">failed</text>`,
  );
  const bars = rows.map(({ span, process: name, depth }, index) => {
    const [from, to] = [millisecondsOf(span.startTimeUnixNano), millisecondsOf(span.endTimeUnixNano)];
    const y = TOP + index * ROW;
    const isFailed = span.status?.code === ERROR;
    const attempt = attribute(span.attributes ?? [], 'temporal.attempt');
    const isLocal = attribute(span.attributes ?? [], 'temporal.is_local') === 'true';
    const label = `${span.name}${attempt ? ` · ${isLocal ? 'local, ' : ''}attempt ${attempt}` : ''}`;
    const why = isFailed ? ` ${attribute(span.attributes ?? [], 'error.type')}` : '';
    const wide = Math.max(2, x(to) - x(from));
    return [
      `<text x="${12 + depth * 14}" y="${y + 13}">${escaped(label)}</text>`,
      `<rect x="${x(from)}" y="${y + 4}" width="${wide}" height="11" rx="2" fill="${isFailed ? FAILED : colorOf(name)}"/>`,
      isFailed ? `<rect x="${x(from)}" y="${y + 4}" width="3" height="11" fill="${colorOf(name)}"/>` : '',
      `<text x="${x(from) + wide + 4}" y="${y + 13}" fill="${isFailed ? FAILED : '#6b7280'}">${(to - from).toFixed(to - from < 10 ? 1 : 0)} ms${escaped(why)}</text>`,
    ].join('');
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="ui-sans-serif, system-ui, sans-serif" font-size="12" fill="#111827">`,
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    ...legend,
    ...ticks,
    ...bars,
    '</svg>',
    '',
  ].join('\n');
}
