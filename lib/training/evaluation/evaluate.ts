import { join } from 'node:path';
import type { SplitName } from '../../data/dataset.ts';
import { DomainError } from '../../errors.ts';
import type { Preset } from '../../models/preset.ts';
import type { DecodingOptions } from '../../releases/decoding.ts';
import type { Backend } from '../../runtime/backend.ts';
import type { ReleaseLabels } from '../../releases/manifest.ts';
import type { TrainingConfig } from '../config.ts';
import type { Prepared, PreparedStudy } from '../data/prepared.ts';
import type { Texts } from '../data/texts.ts';
import { decideLabels } from '../calibrate.ts';
import type { FeedSource } from '../feeds.ts';
import type { FeatureCache } from '../features.ts';
import { writeReports } from '../generated.ts';
import { type Seen, seeStudies } from '../see.ts';
import { planStages } from '../stages.ts';
import { classifierRow } from './labels.ts';
import { type Tables, evaluationTables } from './tables.ts';
import { teacherForcedAccuracy } from './teacher-forced.ts';

export interface EvaluateOptions {
  readonly backend: Backend;
  /** A release's graphs and weights. */
  readonly folder: string;
  /** A folder to work in; made and removed again. */
  readonly scratch: string;
  readonly config: TrainingConfig;
  readonly preset: Preset;
  readonly calibration: ReleaseLabels;
  readonly prepared: Prepared;
  readonly texts: Texts;
  readonly split: SplitName;
  /** At most so many studies. */
  readonly studies: number;
  readonly decoding: DecodingOptions;
  /** Resamples of the bootstrap. */
  readonly samples: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (what: string, done: number, total: number) => void;
}

export interface EvaluationResult {
  readonly tables: Tables;
  /** What was written, study by study. */
  readonly reports: readonly { readonly id: string; readonly report: string }[];
}

/**
 * Judges a model as it is served: labels and reports from the pictures alone, beside the best constant
 * report and the report of the nearest neighbour among the training studies. Throws DATASET_EMPTY.
 */
export async function evaluate(options: EvaluateOptions): Promise<EvaluationResult> {
  const { config, preset, calibration, prepared, texts, split, backend, folder } = options;
  const { batch } = config.validation;
  const studies = prepared.splits[split].slice(0, options.studies);
  const { train } = prepared.splits;
  if (studies.length === 0) {
    const message = `${prepared.name}: the ${split} split has no study to evaluate on`;
    throw new DomainError('FAILED_PRECONDITION', 'DATASET_EMPTY', message, { field: split });
  }
  const see = (which: readonly PreparedStudy[], what: string, tokens: boolean) =>
    seeStudies(which, {
      ...options,
      preprocessing: config.preprocessing,
      batch,
      tokens,
      onProgress: (done, total) => options.onProgress?.(what, done, total),
    });
  const trainSeen = await see(train, 'training pictures', false);
  const seen = await see(studies, 'pictures', true);
  const said = seen.map(({ logits }) => decideLabels(logits, calibration));
  const subjects = studies.map((study, i) => ({
    study,
    seen: seen[i] as Seen,
    labels: said[i] ?? [],
  }));
  const reports = await writeReports(subjects, {
    ...options,
    variant: config.variant,
    indication: config.indication,
    onProgress: (done, total) => options.onProgress?.('reports', done, total),
  });
  // Teacher forcing tells a label variant what serving would: the classifier's labels.
  const served = studies.map((study, i) => ({ ...study, labels: said[i] ?? [] }));
  const plan = reportPlan(config);
  const source: FeedSource = {
    plan,
    config,
    preset,
    prepared,
    texts,
    features: inMemory(served, seen),
    imageTokens: seen[0]?.tokens?.shape[0] ?? 0,
  };
  const context = { plan, config, preset, positiveWeights: [] };
  const scratch = join(options.scratch, 'teacher-forced');
  const tokenAccuracy = await teacherForcedAccuracy({
    backend,
    folder,
    scratch,
    source,
    context,
    studies: served,
    batch,
  });
  const tables = evaluationTables({
    split,
    studies,
    reports,
    pooled: seen.map(({ pooled }) => pooled),
    train,
    trainPooled: trainSeen.map(({ pooled }) => pooled),
    tokenAccuracy,
    labels: classifierRow(studies, said, { seed: config.seed, samples: options.samples }),
    seed: config.seed,
    samples: options.samples,
  });
  return {
    tables,
    reports: studies.map(({ id }, i) => ({ id, report: reports[i] ?? '' })),
  };
}

/** The loss of reports alone, on what the vision encoder gave. */
function reportPlan(config: TrainingConfig): FeedSource['plan'] {
  const [plan] = planStages({
    ...config,
    labels: { ...config.labels, epochs: 0, refitEpochs: 0 },
    stage1: { ...config.stage1, epochs: 1, frozen: ['vision', 'encoder'] },
  });
  return plan as FeedSource['plan'];
}

function inMemory(studies: readonly PreparedStudy[], seen: readonly Seen[]): FeatureCache {
  const byId = new Map(studies.map(({ id }, i) => [id, seen[i]]));
  return {
    shapeOf: () => seen[0]?.tokens?.shape ?? [],
    read: async (_, { id }) => byId.get(id)?.tokens?.data as Float32Array,
    close: async () => {},
  };
}
