/** Two things measured side by side, so that what else the machine does strikes both. */

/** One figure of each of two things, in each round. */
export type Rounds = { service: number[]; floor: number[] };

/**
 * Measures the two in turns, the floor first in every other round. The first round of each is a warm-up and is not
 * counted: code is compiled in it, connections and statements are made.
 *
 * @param each measures one of the two in one round, which is counted from 0.
 */
export async function inTurns<Figure>(
  rounds: number,
  each: (which: 'service' | 'floor', round: number) => Promise<Figure>,
): Promise<Record<'service' | 'floor', Figure[]>> {
  const figures: Record<'service' | 'floor', Figure[]> = { service: [], floor: [] };
  for (let round = 0; round <= rounds; round++) {
    for (const which of round % 2 === 0 ? (['service', 'floor'] as const) : (['floor', 'service'] as const)) {
      const figure = await each(which, round);
      if (round > 0) figures[which].push(figure);
    }
  }
  return figures;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

/** The smallest value that `share` of all values do not exceed. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] as number;
}

/** One line of the report: medians of the rounds, and of the ratios of each round with the smallest and largest. */
export type Row = {
  what: string;
  unit: string;
  service: number;
  floor: number;
  ratio: number;
  ratios: [smallest: number, largest: number];
};

export function rowOf(what: string, unit: string, { service, floor }: Rounds): Row {
  const ratios = service.map((figure, round) => figure / (floor[round] as number));
  return {
    what,
    unit,
    service: median(service),
    floor: median(floor),
    ratio: median(ratios),
    ratios: [Math.min(...ratios), Math.max(...ratios)],
  };
}

export function tableOf(rows: readonly Row[]): string {
  const lines = rows.map(
    ({ what, unit, service, floor, ratio, ratios }) =>
      `| ${what} | ${shown(service)} ${unit} | ${shown(floor)} ${unit} | ${floor > 0 ? `${ratio.toFixed(2)} | ${ratios.map((each) => each.toFixed(2)).join('–')}` : ' | '} |`,
  );
  return ['| what | service | floor | service ÷ floor | rounds |', '|---|---|---|---|---|', ...lines].join('\n');
}

function shown(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString('en') : value.toPrecision(3);
}
