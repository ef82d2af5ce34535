import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { inSpan } from '../telemetry/tracing.ts';
import { DomainError } from '../errors.ts';
import { input } from '../graph/value.ts';
import { optimize } from '../graph/passes.ts';
import { ParameterSet } from '../models/parameters.ts';
import { tokenShape, visionModel } from '../models/variants.ts';
import { emitModel } from '../onnx/emit.ts';
import type { Session } from '../runtime/backend.ts';
import { observations } from '../text/labels/observations.ts';
import type { OutOfDistribution, ReleaseLabels } from '../releases/manifest.ts';
import { decodingOf } from './config.ts';
import type { RunCheckpoint } from './checkpoint.ts';
import type { PreparedStudy } from './data/prepared.ts';
import { decideLabels } from '../inference/labels.ts';
import { normalizeInGraph } from '../inference/normalization.ts';
import { fitDistribution, fitLabels } from './calibrate.ts';
import { exportModels } from './export.ts';
import { type FeatureCache, dropFeatures, openFeatures } from './features.ts';
import { type FeedSource, makeFeeds, targetOf } from './feeds.ts';
import { type GeneratedScores, measure, scoresOf, writeReports } from './generate.ts';
import { initialParameters } from './initial.ts';
import type { Parameters, RunContext } from './run-context.ts';
import { runStage } from './run-stage.ts';
import { type Features, embedStudies, preprocessingOf } from './embed.ts';
import { type StagePlan, planStages } from './stages.ts';

export interface Trained {
  readonly parameters: Parameters;
  readonly calibration: ReleaseLabels;
  readonly distribution: OutOfDistribution;
  /** Folder of the graphs and weights that serve it. */
  readonly models: string;
}

/**
 * The whole procedure of a run, from its last checkpoint: label classifier, stage 1, stage 2, the
 * classifier again, then thresholds, temperatures and the distribution of the features.
 */
export async function train(context: RunContext): Promise<Trained> {
  const { config, checkpoints, journal, reporter, folder } = context;
  const resumed = await checkpoints.loadLast(({ reason, message }) =>
    reporter.event('warning', { reason, message: `${message}; going back to the one before` }),
  );
  await journal.rewind(resumed?.position.metricLines ?? 0);
  let parameters = resumed
    ? parametersOf(resumed)
    : (await initialParameters(config, context.preset)).parameters;
  let elapsedMs = resumed?.position.elapsedMs ?? 0;
  const plans = planStages(config);
  const at = resumed ? plans.findIndex(({ name }) => name === resumed.position.stage) : 0;
  const isFinished = resumed?.position.stage === 'finish';
  const positiveWeights = weightsOf(context);
  for (const [i, plan] of (isFinished ? [] : plans.slice(at)).entries()) {
    const started = performance.now();
    const before = parameters;
    const features = plan.reads === 'grey' ? undefined : await featuresOf(context, parameters);
    try {
      parameters = await inSpan(context.tracer, `stage ${plan.name}`, () =>
        runStage(
          {
            context,
            plan,
            source: sourceOf(context, plan, features),
            positiveWeights,
            parameters: before,
            resumed: i === 0 ? resumed : undefined,
            generate: (current) => generate(context, current),
          },
          elapsedMs,
        ),
      );
    } finally {
      await features?.close();
    }
    elapsedMs += performance.now() - started;
  }
  if (!isFinished) await saveFinish(context, parameters, elapsedMs);
  await dropFeatures(join(folder, 'features'));
  await rm(join(folder, 'stage'), { recursive: true, force: true });
  return { parameters, ...(await calibrate(context, parameters)) };
}

const parametersOf = ({ tensors }: RunCheckpoint): Parameters =>
  new Map(
    tensors
      .entries()
      .filter(([name]) => /^(vision|labeler|encoder|projection|decoder)\./.test(name)),
  );

async function saveFinish(
  { checkpoints, journal }: RunContext,
  parameters: Parameters,
  elapsedMs: number,
): Promise<void> {
  await checkpoints.save(
    {
      stage: 'finish',
      epoch: 0,
      epochStep: 0,
      stageStep: 0,
      validations: 0,
      worse: 0,
      best: null,
      metricLines: journal.lines,
      elapsedMs,
    },
    parameters,
  );
}

function sourceOf(
  { config, preset, prepared, texts }: RunContext,
  plan: StagePlan,
  features: FeatureCache | undefined,
): FeedSource {
  const { tokens } = tokenShape(config.variant, preset);
  return { plan, config, preset, prepared, texts, features, imageTokens: tokens };
}

/** Weight of a positive per label, at least 1: (negatives / positives)^power. */
function weightsOf({ prepared, config }: RunContext): readonly number[] {
  const { imbalance, positiveWeightPower, maxPositiveWeight, uncertain } = config.labels;
  const { train } = prepared.splits;
  return observations.map((_, label) => {
    if (imbalance === 'none') return 1;
    const positives = train.filter(
      ({ labels }) => targetOf(labels[label] ?? null, uncertain)[0] === 1,
    );
    if (positives.length === 0) return 1;
    const ratio = (train.length - positives.length) / positives.length;
    return Math.min(maxPositiveWeight, Math.max(1, ratio ** positiveWeightPower));
  });
}

/** The features of training and validation studies under the present vision encoder. */
async function featuresOf(context: RunContext, parameters: Parameters): Promise<FeatureCache> {
  const { folder, config, preset, prepared, backend, reporter, signal } = context;
  const vision = new Map(parameters.entries().filter(([name]) => name.startsWith('vision.')));
  const started = performance.now();
  return openFeatures({
    folder: join(folder, 'features'),
    parameters: vision,
    studies: [...prepared.splits.train, ...prepared.splits.validate],
    fingerprint: prepared.fingerprint,
    batch: config.validation.batch,
    load: () => loadVision(context, vision),
    grey: async (studies) => {
      const plan = { reads: 'grey', labelLoss: 0, reportLoss: 0 } as StagePlan;
      const source = { ...sourceOf(context, plan, undefined) };
      const feeds = await makeFeeds(source, { studies, size: studies.length, epoch: null, signal });
      const { grey } = feeds;
      if (!grey) throw new RangeError('the feeds hold no images');
      return { ...grey, shape: grey.shape.slice(1) };
    },
    onProgress: (done, total) => {
      signal.throwIfAborted();
      const studiesPerSecond = (1000 * done) / (performance.now() - started);
      reporter.progress({
        stage: 'features',
        epoch: 0,
        epochs: 1,
        step: done,
        totalSteps: total,
        loss: null,
        learningRate: null,
        gradientNorm: null,
        studiesPerSecond,
        tokensPerSecond: 0,
        etaSeconds: (total - done) / studiesPerSecond,
      });
    },
  });

  async function loadVision(
    { config: { variant, preprocessing } }: RunContext,
    weights: Parameters,
  ): Promise<Session> {
    const grey = input('grey', 'float32', ['batch', 1, preset.imageSize, preset.imageSize]);
    const image = normalizeInGraph(grey, preprocessing);
    const features = visionModel(new ParameterSet(), image, preset, variant);
    const graph = optimize({
      inputs: [grey],
      outputs: Object.entries(features).map(([name, value]) => ({ name, value })),
    });
    const bytes = emitModel(graph, {
      name: 'features',
      weights: (name) => {
        const data = weights.get(name)?.data;
        return data && new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      },
    });
    return backend.load(bytes);
  }
}

/** The features of studies under models that were exported. */
function embed(
  context: RunContext,
  models: string,
  studies: readonly PreparedStudy[],
  tokens: boolean,
): Promise<Features[]> {
  const { config, preset } = context;
  return embedStudies(studies, {
    ...context,
    folder: models,
    preprocessing: preprocessingOf(config, preset),
    batch: config.validation.batch,
    tokens,
  });
}

/** Free generation on a fixed subset of the validation studies; label variants get fitted labels. */
async function generate(context: RunContext, parameters: Parameters): Promise<GeneratedScores> {
  const { config, preset, prepared, folder, signal } = context;
  const models = join(folder, 'validation-models');
  await exportModels(models, config.variant, preset, parameters);
  const { validate } = prepared.splits;
  const features = await embed(context, models, validate, true);
  const calibration = fitLabels(validate, features, config.labels.uncertain);
  const subjects = validate.slice(0, config.validation.generatedStudies).map((study, i) => {
    const own = features[i] as Features;
    return { study, features: own, labels: decideLabels(own.logits, calibration) };
  });
  const reports = await writeReports(subjects, {
    ...context,
    folder: models,
    variant: config.variant,
    indication: config.indication,
    decoding: decodingOf(
      { ...config, evaluation: { ...config.evaluation, beams: 1 } },
      preset.maxReportTokens,
    ),
    signal,
  });
  await rm(models, { recursive: true, force: true });
  const options = { seed: config.seed, samples: 0 };
  return scoresOf(
    measure(
      subjects.map(({ study }) => study),
      reports,
      options,
    ),
  );
}

async function calibrate(
  context: RunContext,
  parameters: Parameters,
): Promise<Omit<Trained, 'parameters'>> {
  const { config, preset, prepared, folder } = context;
  const models = join(folder, 'models');
  await mkdir(folder, { recursive: true });
  await exportModels(models, config.variant, preset, parameters);
  const { validate, train: training } = prepared.splits;
  const features = await embed(context, models, validate, false);
  const known = await embed(context, models, training, false);
  const pooled = (rows: readonly Features[]): Float32Array[] => rows.map((row) => row.pooled);
  for (const { logits } of features) {
    if (logits.every(Number.isFinite)) continue;
    const message =
      'the logits of the label classifier on the validation studies are NaN or infinite';
    throw new DomainError('FAILED_PRECONDITION', 'LOSS_NOT_FINITE', message);
  }
  return {
    models,
    calibration: fitLabels(validate, features, config.labels.uncertain),
    distribution: fitDistribution(pooled(known), pooled(features)),
  };
}
