import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { type Spec, View, parse } from 'vega';
import { writing } from '../data/disk.ts';
import type { JournalLine } from '../journal.ts';

interface Point {
  readonly series: string;
  readonly step: number;
  readonly value: number;
}

interface Figure {
  readonly file: string;
  readonly title: string;
  readonly panels: readonly { readonly title: string; readonly points: readonly Point[] }[];
}

/**
 * The paper's figures 2 (losses and token accuracy) and 3 (measures of generated reports) of a run, as
 * SVG and PNG in `figures/`, and the numbers behind them as JSON lines.
 */
export async function drawFigures(folder: string, lines: readonly JournalLine[]): Promise<void> {
  const into = join(folder, 'figures');
  await writing(into, async () => {
    await mkdir(into, { recursive: true });
    for (const figure of figuresOf(lines)) {
      const svg = await draw(figure);
      await writeFile(join(into, `${figure.file}.svg`), svg);
      await sharp(Buffer.from(svg), { density: 144 })
        .flatten({ background: 'white' })
        .png()
        .toFile(join(into, `${figure.file}.png`));
      const points = figure.panels.flatMap(({ title, points }) =>
        points.map((point) => JSON.stringify({ panel: title, ...point })),
      );
      await writeFile(
        join(into, `${figure.file}.jsonl`),
        points.map((line) => `${line}\n`).join(''),
      );
    }
  });
}

/** Continues the steps of each stage from those of the one before. */
function onOneAxis(lines: readonly JournalLine[]): JournalLine[] {
  let [stage, before, last] = ['', 0, 0];
  return lines
    .filter(({ kind }) => kind === 'steps' || kind === 'validation')
    .map((line) => {
      if (line.stage !== stage) [stage, before] = [line.stage, before + last];
      last = line.step;
      return Object.assign({}, line, { step: before + line.step });
    });
}

function figuresOf(lines: readonly JournalLine[]): Figure[] {
  const all = onOneAxis(lines);
  const series = (
    kind: JournalLine['kind'],
    field: string,
    name: string,
    isIn: (stage: string) => boolean,
  ): Point[] =>
    all.flatMap((line) => {
      const value = line[field];
      if (line.kind !== kind || !isIn(line.stage) || typeof value !== 'number') return [];
      return [{ series: name, step: line.step, value }];
    });
  const report = (stage: string): boolean => stage.startsWith('stage');
  const labels = (stage: string): boolean => !report(stage);
  const measured = (field: string, name: string): Point[] =>
    series('validation', field, name, report);
  return [
    {
      file: 'figure-2',
      title: 'Training',
      panels: [
        {
          title: 'loss of the report',
          points: [
            ...series('steps', 'loss', 'training', report),
            ...measured('loss', 'validation'),
          ],
        },
        {
          title: 'token accuracy (teacher-forced)',
          points: [
            ...series('steps', 'accuracy', 'training', report),
            ...measured('accuracy', 'validation'),
          ],
        },
        {
          title: 'loss of the labels',
          points: [
            ...series('steps', 'loss', 'training', labels),
            ...series('validation', 'loss', 'validation', labels),
          ],
        },
      ],
    },
    {
      file: 'figure-3',
      title: 'Reports generated from validation studies',
      panels: [
        {
          title: 'language',
          points: [...measured('bleu4', 'BLEU-4'), ...measured('rougeL', 'ROUGE-L')],
        },
        {
          title: 'F1',
          points: [
            ...measured('pooledF1', 'pooled unigrams'),
            ...measured('clinicalF1', 'clinical'),
          ],
        },
      ],
    },
  ];
}

async function draw({ title, panels }: Figure): Promise<string> {
  const view = new View(parse(specOf(title, panels)), { renderer: 'none' });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}

const [width, height] = [360, 240];

function specOf(title: string, panels: Figure['panels']): Spec {
  return {
    $schema: 'https://vega.github.io/schema/vega/v6.json',
    title: { text: title, anchor: 'start' },
    background: 'white',
    padding: 8,
    layout: { columns: panels.length, padding: 24 },
    data: panels.map(({ points }, i) => ({ name: `panel${i}`, values: [...points] })),
    marks: panels.map(({ title: name }, i) => panelOf(name, `panel${i}`)),
  };
}

function panelOf(title: string, data: string): NonNullable<Spec['marks']>[number] {
  const encode = {
    enter: {
      x: { scale: 'x', field: 'step' },
      y: { scale: 'y', field: 'value' },
      stroke: { scale: 'color', field: 'series' },
      strokeWidth: { value: 1.5 },
    },
  } as const;
  return {
    type: 'group',
    title: { text: title, fontSize: 11 },
    encode: { enter: { width: { value: width }, height: { value: height } } },
    scales: [
      {
        name: 'x',
        type: 'linear',
        domain: { data, field: 'step' },
        range: [0, width],
        zero: false,
      },
      {
        name: 'y',
        type: 'linear',
        domain: { data, field: 'value' },
        range: [height, 0],
        zero: true,
        nice: true,
      },
      { name: 'color', type: 'ordinal', domain: { data, field: 'series' }, range: 'category' },
    ],
    axes: [
      { orient: 'bottom', scale: 'x', title: 'optimizer step', tickCount: 6 },
      { orient: 'left', scale: 'y', grid: true, tickCount: 6 },
    ],
    legends: [{ stroke: 'color', orient: 'bottom', direction: 'horizontal', symbolType: 'stroke' }],
    marks: [
      {
        type: 'group',
        from: { facet: { name: `${data}series`, data, groupby: 'series' } },
        marks: [{ type: 'line', from: { data: `${data}series` }, encode }],
      },
    ],
  };
}
