import type { Manifest, MetricRow } from '../../releases/manifest.ts';
import type { Tables } from './tables.ts';

export interface Evaluated {
  readonly manifest: Manifest;
  readonly tables: Tables | Manifest['evaluation'];
}

/** Columns of the paper's tables IV to VII: field and title. */
const columns: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
  language: [
    ['bleu1', 'BLEU-1'],
    ['bleu2', 'BLEU-2'],
    ['bleu3', 'BLEU-3'],
    ['bleu4', 'BLEU-4'],
    ['rougeL', 'ROUGE-L'],
    ['meteor', 'METEOR'],
    ['cider', 'CIDEr'],
  ],
  tokens: [
    ['tokenAccuracy', 'token accuracy'],
    ['unigramPrecision', 'pooled precision'],
    ['unigramRecall', 'pooled recall'],
    ['unigramF1', 'pooled F1'],
  ],
  clinical: clinicalColumns(),
  clinical5: clinicalColumns(),
  classifier: [
    ['microPrecision', 'precision'],
    ['microRecall', 'recall'],
    ['microF1', 'micro F1'],
    ['macroF1', 'macro F1'],
    ['accuracy', 'accuracy'],
  ],
};

function clinicalColumns(): readonly (readonly [string, string])[] {
  return [
    ['microPrecision', 'micro P'],
    ['microRecall', 'micro R'],
    ['microF1', 'micro F1'],
    ['macroF1', 'macro F1'],
    ['exampleF1', 'example F1'],
    ['accuracy', 'accuracy'],
  ];
}

/** The tables of some releases, each variant below its baselines. */
export function printTables(evaluated: readonly Evaluated[]): string {
  const [first] = evaluated;
  if (!first) return '';
  return Object.keys(columns)
    .filter((name) => first.tables[name] !== undefined)
    .map((name) => printTable(name, evaluated))
    .join('\n');
}

function printTable(name: string, evaluated: readonly Evaluated[]): string {
  const own = columns[name] ?? [];
  const [first] = evaluated;
  const table = first?.tables[name];
  const rows = [['', ...own.map(([, title]) => title)]];
  const add = (title: string, row: MetricRow | undefined): void => {
    if (row) rows.push([title, ...own.map(([field]) => cell(row, field))]);
  };
  add('constant report', table?.baselines['constant']);
  for (const { manifest, tables } of evaluated) {
    add(`nearest (${manifest.variant})`, tables[name]?.baselines['nearest']);
    add(manifest.variant, tables[name]?.model);
  }
  const title = `${table?.title ?? name}; ${table?.studies ?? 0} studies of ${table?.split ?? '-'}`;
  return `${title}\n${align(rows)}`;
}

function cell({ metrics, intervals }: MetricRow, field: string): string {
  const value = metrics[field];
  if (value === undefined) return '-';
  const interval = intervals?.[field];
  if (!interval || interval[0] === interval[1]) return value.toFixed(3);
  return `${value.toFixed(3)} [${interval.map((bound) => bound.toFixed(3)).join(', ')}]`;
}

export function align(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, at) =>
    Math.max(...rows.map((row) => row[at]?.length ?? 0)),
  );
  return rows
    .map((row) =>
      row
        .map((text, at) => text.padEnd(widths[at] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('');
}
