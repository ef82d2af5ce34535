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
    `${studies} studies of the split \`${cell(split)}\`; 95 % confidence intervals in brackets where they were computed.`,
    table(
      ['metric', ...rows.map(([name]) => name)],
      names.map((name) => [name].concat(rows.map(([, measures]) => measured(measures, name)))),
    ),
  ].join('\n\n');
}

/** The model card: what a reader must know before using a release, in Markdown. */
export function modelCard(content: Omit<ManifestContent, 'formatVersion' | 'files'>): string {
  const { variant, preset, preprocessing, provenance, labels, quantization } = content;
  const { dataset } = provenance;
  const tables = Object.values(content.evaluation).map(evaluation);
  const ood = content.outOfDistribution;
  return `${[
    `# RadScribe ${variant}, preset ${preset.name}`,
    'Writes the findings and impression of a radiology report for one chest radiograph, and says which of the 14 CheXpert observations it shows.',
    '## Intended use',
    '**Not a medical device.** For research and engineering only. It must not be used for diagnosis, triage or treatment, and no report it writes may reach a patient record unless a radiologist has read the radiograph and answers for the text.',
    '## Limits',
    [
      '- Trained on single frontal (PA) views. Its training data hold no lateral views, portable AP radiographs, children or other modalities.',
      `- Reads images at ${preprocessing.width} x ${preprocessing.height} pixels: small nodules, fine lines and thin pneumothoraces may not be visible to it.`,
      '- It may describe findings that are not there, miss some that are, and mention earlier radiographs, which it never reads.',
      '- Its labels were trained on labels that rules extracted from reports, and repeat the mistakes of those rules.',
      `- Its training data are \`${cell(dataset.name)}\`; its accuracy on radiographs of other hospitals, machines and populations is unknown.`,
      ood
        ? `- Images unlike the training set get a warning; ${number(100 * ood.falseAlarms)} % of the validation studies got false alarms.`
        : '- It was released without a check for images unlike the training set.',
      `- Weights are ${quantization === 'int8' ? 'quantized to 8 bits' : 'not quantized'}.`,
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
