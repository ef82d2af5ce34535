/** All measures of generated reports against their references, in one table. */
import { invalidArgument } from '../../errors.ts';
import { extractLabels } from '../labels/extract.ts';
import { type Observation, observations } from '../labels/observations.ts';
import { splitReport } from '../report-text.ts';
import { addBleu, bleu, bleuCounts } from './bleu.ts';
import { bootstrap, type BootstrapOptions, type Measured } from './bootstrap.ts';
import { cider } from './cider.ts';
import {
  type ClinicalScores,
  clinicalScores,
  decide,
  fiveObservations,
  type States,
  type UncertainAs,
} from './clinical.ts';
import { meteor } from './meteor.ts';
import { mean, type Pair, type Tokenize, tokenizePairs, wordsOf } from './pairs.ts';
import { rougeL } from './rouge.ts';
import { unigramCounts, unigramScores } from './unigrams.ts';

export interface EvaluationOptions extends BootstrapOptions {
  /** Default: 'positive'. */
  readonly uncertainAs?: UncertainAs;
  /** For the measures of words. Default: `wordsOf`. */
  readonly tokenize?: Tokenize;
}

const languageFigures = [
  'bleu1',
  'bleu2',
  'bleu3',
  'bleu4',
  'rougeL',
  'meteor',
  'cider',
  'unigramPrecision',
  'unigramRecall',
  'unigramF1',
] as const;
type LanguageFigure = (typeof languageFigures)[number];

const averages = ['micro', 'macro', 'example'] as const;
const clinicalFigures = [
  ...averages.flatMap((name) => [`${name}Precision`, `${name}Recall`, `${name}F1`] as const),
  'accuracy',
] as const;
type ClinicalFigure = (typeof clinicalFigures)[number];

export interface Evaluation {
  readonly pairs: number;
  /**
   * BLEU, ROUGE-L, METEOR and CIDEr over all references, and the words of free generation pooled,
   * against the first. CIDEr goes up to 10, all others to 1. How rare CIDEr takes a word to be is
   * counted once, not in every resample.
   */
  readonly language: Readonly<Record<LanguageFigure, Measured>>;
  /** Clinical efficacy over the 14 observations and over the field's five, against the first reference. */
  readonly clinical14: Readonly<Record<ClinicalFigure, Measured>>;
  readonly clinical5: Readonly<Record<ClinicalFigure, Measured>>;
  readonly observations: ClinicalScores['perObservation'];
  readonly uncertainAs: UncertainAs;
}

/**
 * All measures of reports. Their headers (`FINDINGS:`) are left out, since every report has them. Throws
 * EVALUATION_EMPTY without pairs.
 */
export function evaluateReports(reports: readonly Pair[], options: EvaluationOptions): Evaluation {
  const pairs = reports.map(({ candidate, references: [first, ...others] }): Pair => ({
    candidate: withoutHeaders(candidate),
    references: [withoutHeaders(first), ...others.map(withoutHeaders)],
  }));
  if (pairs.length === 0)
    throw invalidArgument('EVALUATION_EMPTY', 'pairs', 'expected at least one');
  const { uncertainAs = 'positive', tokenize = wordsOf } = options;
  const statesOf = labelsOnce();
  const states = pairs.map(({ candidate, references }) => ({
    candidate: statesOf(candidate),
    reference: statesOf(references[0]),
  }));
  const rowsOver = (over: readonly Observation[]) =>
    states.map((pair) => decide(pair, over, uncertainAs));
  const clinical = (over: readonly Observation[]) =>
    bootstrap(rowsOver(over), (drawn) => clinicalRow(clinicalScores(drawn, over)), options);
  return {
    pairs: pairs.length,
    language: bootstrap(languageItems(pairs, tokenize), languageRow, options),
    clinical14: clinical(observations),
    clinical5: clinical(fiveObservations),
    observations: clinicalScores(rowsOver(observations), observations).perObservation,
    uncertainAs,
  };
}

function withoutHeaders(report: string): string {
  const { findings, impression } = splitReport(report);
  return [findings, impression].filter((section) => section !== '').join('\n\n');
}

/** Reports repeat, and the constant baseline is one report: each text is labeled once. */
function labelsOnce(): (text: string) => States {
  const known = new Map<string, States>();
  return (text) => {
    const labels = known.get(text) ?? extractLabels(text);
    known.set(text, labels);
    return labels;
  };
}

function languageItems(pairs: readonly Pair[], tokenize: Tokenize) {
  const tokens = tokenizePairs(pairs, tokenize);
  const rare = cider(tokens);
  return tokens.map((pair, at) => ({
    bleu: bleuCounts(pair),
    unigrams: unigramCounts(pair),
    rougeL: rougeL(pair),
    meteor: meteor(pair),
    cider: rare[at] ?? 0,
  }));
}

type LanguageItem = ReturnType<typeof languageItems>[number];

function languageRow(items: readonly LanguageItem[]): Readonly<Record<LanguageFigure, number>> {
  const [bleu1 = 0, bleu2 = 0, bleu3 = 0, bleu4 = 0] = bleu(
    addBleu(items.map((item) => item.bleu)),
  );
  const [unigramPrecision, unigramRecall, unigramF1] = unigramScores(
    items.map(({ unigrams }) => unigrams),
  );
  return {
    bleu1,
    bleu2,
    bleu3,
    bleu4,
    rougeL: mean(items.map((item) => item.rougeL)),
    meteor: mean(items.map((item) => item.meteor)),
    cider: mean(items.map((item) => item.cider)),
    unigramPrecision,
    unigramRecall,
    unigramF1,
  };
}

function clinicalRow(scores: ClinicalScores): Readonly<Record<ClinicalFigure, number>> {
  const row = averages.flatMap((name): [ClinicalFigure, number][] => [
    [`${name}Precision`, scores[name].precision],
    [`${name}Recall`, scores[name].recall],
    [`${name}F1`, scores[name].f1],
  ]);
  return Object.fromEntries([...row, ['accuracy', scores.accuracy]]) as Record<
    ClinicalFigure,
    number
  >;
}
