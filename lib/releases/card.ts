import { observations } from '../text/labels/observations.ts';
import type { EvaluationTable, ManifestContent, MetricRow } from './manifest.ts';

const number = (value: number): string => String(Number(value.toPrecision(4)));

/** A cell of a Markdown table holds no bar and no line break. */
const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll(/\s+/g, ' ');

const row = (cells: readonly string[]): string => `| ${cells.map(cell).join(' | ')} |`;

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [row(head), row(head.map(() => '---')), ...rows.map(row)].join('\n');
}

function measured({ metrics, intervals = {} }: MetricRow, name: string): string {
  const value = metrics[name];
  if (value === undefined) return '-';
  const interval = intervals[name];
  return interval ? `${number(value)} (${interval.map(number).join(' to ')})` : number(value);
}

function evaluation({ title, split, studies, model, baselines }: EvaluationTable): string {
  const rows = [['this release', model] as const, ...Object.entries(baselines)];
  const names = [...new Set(rows.flatMap(([, { metrics }]) => Object.keys(metrics)))];
  return [
    `### ${cell(title)}`,
    `${studies} studies of the split \`${cell(split)}\`; 95 % intervals in brackets where they were computed.`,
    table(
      ['metric', ...rows.map(([name]) => name)],
      names.map((name) => [name].concat(rows.map(([, measures]) => measured(measures, name)))),
    ),
  ].join('\n\n');
}

/** What a reader must know before using a release, in Markdown. */
export function modelCard(content: Omit<ManifestContent, 'formatVersion' | 'files'>): string {
  const { variant, preset, preprocessing, provenance, labels, quantisation } = content;
  const { dataset } = provenance;
  const tables = Object.values(content.evaluation).map(evaluation);
  const ood = content.outOfDistribution;
  return `${[
    `# RadScribe ${variant}, preset ${preset.name}`,
    'Writes the findings and impression of a radiology report for one chest radiograph, and says which of the 14 CheXpert observations it shows.',
    '## Intended use',
    '**Not a medical device.** For research and engineering only. It must not be used for diagnosis, triage or treatment, and no report it writes may reach a patient record unless a radiologist has read the film and answers for the text.',
    '## Limits',
    [
      '- Trained on single frontal (PA) views. Lateral views, portable AP films, children and other modalities are outside of what it has seen.',
      `- Reads pictures at ${preprocessing.width} x ${preprocessing.height} pixels: small nodules, fine lines and thin pneumothoraces may not be visible to it.`,
      '- It may describe findings that are not there, miss some that are, and mention earlier films that it was never shown.',
      '- Its labels were learnt from labels that rules extracted from reports, and carry the mistakes of those rules.',
      `- Its training data are \`${cell(dataset.name)}\`; how it does on films of other hospitals, machines and populations is unknown.`,
      ood
        ? `- Pictures unlike the training set get a warning; on validation studies ${number(100 * ood.falseAlarms)} % were warned of without need.`
        : '- It was released without a check for pictures unlike the training set.',
      `- Weights are ${quantisation === 'int8' ? 'quantised to 8 bits' : 'not quantised'}.`,
    ].join('\n'),
    '## Evaluation',
    tables.length > 0
      ? 'Read every figure against the baselines beside it: the best constant report, and the report of the nearest training study.'
      : 'This release was not evaluated.',
    ...tables,
    '## Labels',
    table(
      ['observation', 'threshold', 'temperature'],
      observations.map((name, i) => [
        name,
        number(labels.thresholds[i] ?? Number.NaN),
        number(labels.temperatures[i] ?? Number.NaN),
      ]),
    ),
    '## Provenance',
    table(
      ['', ''],
      [
        ['dataset', `${dataset.name}, fingerprint ${dataset.fingerprint}`],
        [
          'studies',
          Object.entries(dataset.studies)
            .map(([split, count]) => `${split} ${count}`)
            .join(', ') || 'none',
        ],
        ['code', provenance.codeVersion],
        ['parent', provenance.parent ?? 'none'],
        ['seed', String(provenance.seed)],
        ['made', `${provenance.createdAt}, in ${number(provenance.durationS)} s`],
        ...(provenance.command === undefined ? [] : [['command', provenance.command]]),
      ],
    ),
    'The training config stands in `release.json` under `provenance.config`.',
  ].join('\n\n')}\n`;
}
