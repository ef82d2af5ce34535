import { join } from 'node:path';
import type { SplitName } from '../../data/dataset.ts';
import { DomainError } from '../../errors.ts';
import { outOfDistribution } from '../../inference/distribution.ts';
import { type LabelDecision, decideLabels } from '../../inference/labels.ts';
import type { Preset } from '../../models/preset.ts';
import type { Manifest } from '../../releases/manifest.ts';
import type { Backend } from '../../runtime/backend.ts';
import type { TrainingConfig } from '../config.ts';
import type { Prepared, PreparedStudy } from '../data/prepared.ts';
import type { Texts } from '../data/texts.ts';
import { type Features, embedStudies } from '../embed.ts';
import type { FeatureCache } from '../features.ts';
import type { FeedSource } from '../feeds.ts';
import { type Subject, writeReports } from '../generate.ts';
import { planStages } from '../stages.ts';
import { classifierRow } from './labels.ts';
import { type Tables, evaluationTables } from './tables.ts';
import { teacherForcedAccuracy } from './teacher-forced.ts';

/** What of a release decides its answers, beside its weights. */
export type Decides = Pick<Manifest, 'preprocessing' | 'labels' | 'outOfDistribution' | 'decoding'>;

export interface EvaluateOptions {
  readonly backend: Backend;
  /** A release's graphs and weights. */
  readonly folder: string;
  readonly release: Decides;
  /** A folder to work in; made and removed again. */
  readonly scratch: string;
  readonly config: TrainingConfig;
  readonly preset: Preset;
  readonly prepared: Prepared;
  readonly texts: Texts;
  readonly split: SplitName;
  /** At most so many studies. */
  readonly studies: number;
  /** Resamples of the bootstrap. */
  readonly samples: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (what: string, done: number, total: number) => void;
}

/** What the services would answer for one study. */
interface EvaluatedStudy {
  readonly id: string;
  readonly report: string;
  readonly labels: readonly LabelDecision[];
  /** See lib/inference/distribution.ts. */
  readonly outOfDistribution: number | undefined;
}

export interface EvaluationResult {
  readonly tables: Tables;
  readonly reports: readonly EvaluatedStudy[];
}

/**
 * Evaluates a model as it is served: labels and reports from the images alone, beside the best constant
 * report and the report of the nearest neighbour among the training studies. Throws DATASET_EMPTY.
 */
export async function evaluate(options: EvaluateOptions): Promise<EvaluationResult> {
  const { config, release, prepared, split } = options;
  const studies = prepared.splits[split].slice(0, options.studies);
  const { train } = prepared.splits;
  if (studies.length === 0) {
    const message = `${prepared.name}: the ${split} split has no study to evaluate on`;
    throw new DomainError('FAILED_PRECONDITION', 'DATASET_EMPTY', message, { field: split });
  }
  const training = await embedStudies(train, embedding(options, 'training images', false));
  const subjects = await decideStudies(studies, options);
  const reports = await writeReports(subjects, {
    ...options,
    variant: config.variant,
    indication: config.indication,
    decoding: release.decoding,
    onProgress: (done, total) => options.onProgress?.('reports', done, total),
  });
  const states = subjects.map(({ labels }) => labels.map(({ state }) => state));
  const tables = evaluationTables({
    split,
    studies,
    reports,
    pooled: subjects.map(({ features }) => features.pooled),
    train,
    trainPooled: training.map(({ pooled }) => pooled),
    tokenAccuracy: await tokenAccuracyOf(subjects, options),
    labels: classifierRow(studies, states, { seed: config.seed, samples: options.samples }),
    seed: config.seed,
    samples: options.samples,
  });
  return {
    tables,
    reports: subjects.map(({ study, features, labels }, i) => ({
      id: study.id,
      report: reports[i] ?? '',
      labels,
      outOfDistribution: outOfDistribution(features.pooled, release.outOfDistribution),
    })),
  };
}

/** Embeds studies and decides their labels, as vision and labeler do. */
export async function decideStudies(
  studies: readonly PreparedStudy[],
  options: EvaluateOptions,
): Promise<Subject[]> {
  const features = await embedStudies(studies, embedding(options, 'images', true));
  return studies.map((study, i) => {
    const own = features[i] as Features;
    return { study, features: own, labels: decideLabels(own.logits, options.release.labels) };
  });
}

const embedding = (options: EvaluateOptions, what: string, tokens: boolean) => ({
  ...options,
  preprocessing: options.release.preprocessing,
  batch: options.config.validation.batch,
  tokens,
  onProgress: (done: number, total: number) => options.onProgress?.(what, done, total),
});

/** Teacher-forced accuracy; a label variant reads the labels that serving would give it. */
function tokenAccuracyOf(
  subjects: readonly Subject[],
  { backend, folder, scratch, config, preset, prepared, texts }: EvaluateOptions,
): Promise<number> {
  const plan = reportPlan(config);
  const studies = subjects.map(({ study, labels }) => ({
    ...study,
    labels: labels.map(({ state }) => state),
  }));
  const source: FeedSource = {
    plan,
    config,
    preset,
    prepared,
    texts,
    features: inMemory(subjects),
    imageTokens: subjects[0]?.features.tokens?.shape[0] ?? 0,
  };
  return teacherForcedAccuracy({
    backend,
    folder,
    scratch: join(scratch, 'teacher-forced'),
    source,
    context: { plan, config, preset, positiveWeights: [] },
    studies,
    batch: config.validation.batch,
  });
}

/** The loss of reports alone, on the tokens of the vision encoder. */
function reportPlan(config: TrainingConfig): FeedSource['plan'] {
  const [plan] = planStages({
    ...config,
    labels: { ...config.labels, epochs: 0, refitEpochs: 0 },
    stage1: { ...config.stage1, epochs: 1, frozen: ['vision', 'encoder'] },
  });
  return plan as FeedSource['plan'];
}

function inMemory(subjects: readonly Subject[]): FeatureCache {
  const byId = new Map(subjects.map(({ study, features }) => [study.id, features]));
  return {
    shapeOf: () => subjects[0]?.features.tokens?.shape ?? [],
    read: async (_, { id }) => byId.get(id)?.tokens?.data as Float32Array,
    close: async () => {},
  };
}
