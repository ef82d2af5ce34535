import { bestConstantReport, nearestNeighbours } from '../../text/metrics/baselines.ts';
import type { Measured } from '../../text/metrics/bootstrap.ts';
import type { Evaluation as Measures } from '../../text/metrics/evaluate.ts';
import { reportOf } from '../data/texts.ts';
import type { PreparedStudy } from '../data/prepared.ts';
import { measure } from '../generate.ts';

export interface Row {
  readonly metrics: Readonly<Record<string, number>>;
  readonly intervals?: Readonly<Record<string, [number, number]>>;
}

/** One table of a release's evaluation: its row, and those of the baselines to compare it with. */
interface Table {
  readonly title: string;
  readonly split: string;
  readonly studies: number;
  readonly model: Row;
  readonly baselines: Readonly<Record<string, Row>>;
}
export type Tables = Readonly<Record<string, Table>>;

export interface EvaluatedReports {
  readonly split: string;
  readonly studies: readonly PreparedStudy[];
  readonly reports: readonly string[];
  /** Pooled vision features of the studies, and of those that the nearest neighbour is taken from. */
  readonly pooled: readonly Float32Array[];
  readonly train: readonly PreparedStudy[];
  readonly trainPooled: readonly Float32Array[];
  /** Teacher-forced, over the same studies. */
  readonly tokenAccuracy: number;
  /** Of the classifier, over the same studies. */
  readonly labels: Row;
  readonly seed: number;
  /** Resamples of the bootstrap. */
  readonly samples: number;
}

const rowOf = (figures: Readonly<Record<string, Measured>>, names: readonly string[]): Row => ({
  metrics: Object.fromEntries(names.map((name) => [name, figures[name]?.value ?? 0])),
  intervals: Object.fromEntries(
    names.map((name) => [name, [figures[name]?.low ?? 0, figures[name]?.high ?? 0]]),
  ),
});

const languageNames = ['bleu1', 'bleu2', 'bleu3', 'bleu4', 'rougeL', 'meteor', 'cider'];
const pooledNames = ['unigramPrecision', 'unigramRecall', 'unigramF1'];
const clinicalNames = [
  'microPrecision',
  'microRecall',
  'microF1',
  'macroPrecision',
  'macroRecall',
  'macroF1',
  'exampleF1',
  'accuracy',
];

/** The paper's tables IV to VII of one release, each with both baselines. */
export function evaluationTables(evaluated: EvaluatedReports): Tables {
  const { studies, reports, split, seed, samples } = evaluated;
  const options = { seed, samples };
  const own = measure(studies, reports, options);
  const baselines = Object.entries(baselineReports(evaluated)).map(
    ([name, written]) => [name, measure(studies, written, options)] as const,
  );
  const table = (title: string, row: (measures: Measures) => Row): Table => ({
    title,
    split,
    studies: studies.length,
    model: row(own),
    baselines: Object.fromEntries(baselines.map(([name, measures]) => [name, row(measures)])),
  });
  const tokens = table('Tokens (V): teacher-forced accuracy, pooled unigrams', ({ language }) =>
    rowOf(language, pooledNames),
  );
  const { tokenAccuracy } = evaluated;
  return {
    language: table('Language (IV)', ({ language }) => rowOf(language, languageNames)),
    tokens: {
      ...tokens,
      model: { ...tokens.model, metrics: { tokenAccuracy, ...tokens.model.metrics } },
    },
    clinical: table('Clinical efficacy, 14 observations (VI)', ({ clinical14 }) =>
      rowOf(clinical14, clinicalNames),
    ),
    clinical5: table('Clinical efficacy, 5 observations (VII)', ({ clinical5 }) =>
      rowOf(clinical5, clinicalNames),
    ),
    classifier: {
      title: 'Label classifier, 14 observations',
      split,
      studies: studies.length,
      model: evaluated.labels,
      baselines: {},
    },
  };
}

/** The best constant report, and the report of the training study whose pooled features are nearest. */
function baselineReports({
  studies,
  pooled,
  train,
  trainPooled,
  seed,
}: EvaluatedReports): Readonly<Record<string, readonly string[]>> {
  const constant = bestConstantReport(train.map(reportOf), seed);
  const neighbours = nearestNeighbours(
    flat(pooled),
    flat(trainPooled),
    trainPooled[0]?.length ?? 1,
  );
  return {
    constant: studies.map(() => constant),
    nearest: neighbours.map((at) => reportOf(train[at] as PreparedStudy)),
  };
}

function flat(rows: readonly Float32Array[]): Float32Array {
  const width = rows[0]?.length ?? 0;
  const all = new Float32Array(rows.length * width);
  rows.forEach((row, i) => all.set(row, i * width));
  return all;
}
