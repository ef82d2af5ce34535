import { join } from 'node:path';
import { shuffled } from '../data/order.ts';
import { inSpan } from '../telemetry/tracing.ts';
import { DomainError } from '../errors.ts';
import type { Tensor } from '../graph/types.ts';
import { hashName, mix32 } from '../models/init.ts';
import type { RunCheckpoint, RunPosition } from './checkpoint.ts';
import { byLength, resampled } from './data/order.ts';
import type { PreparedStudy } from './data/prepared.ts';
import { StageEngine, type StepResult } from './engine.ts';
import { type FeedSource, feedTypes, makeFeeds } from './feeds.ts';
import type { GeneratedScores } from './generate.ts';
import type { Parameters, RunContext } from './run-context.ts';
import { type StagePlan, rateAt } from './stages.ts';
import { Throughput } from './throughput.ts';
import { type Validation, validate } from './validate.ts';

export interface StageOptions {
  readonly context: RunContext;
  readonly plan: StagePlan;
  readonly source: FeedSource;
  readonly positiveWeights: readonly number[];
  /** Every parameter of the variant at the start of the stage. */
  readonly parameters: Parameters;
  /** The checkpoint to go on from; absent: the stage starts. */
  readonly resumed: RunCheckpoint | undefined;
  /** Generates reports of some validation studies with these parameters, and measures them. */
  readonly generate: (parameters: Parameters) => Promise<GeneratedScores>;
}

/** The metrics of a validation: a line of metrics.jsonl, and the value for early stopping. */
type Scores = Validation & Partial<GeneratedScores>;

const fresh = (plan: StagePlan, metricLines: number, elapsedMs: number): RunPosition => ({
  stage: plan.name,
  epoch: 0,
  epochStep: 0,
  stageStep: 0,
  validations: 0,
  worse: 0,
  best: null,
  metricLines,
  elapsedMs,
});

/**
 * Trains one stage to its end, from its start or from a checkpoint. Returns every parameter of the
 * variant: those of the best validation where the stage stops early, else the last.
 *
 * Throws LOSS_NOT_FINITE that names the step and its studies, what `check` throws, and, after writing a
 * checkpoint, the signal's reason.
 */
export async function runStage(options: StageOptions, elapsedMs: number): Promise<Parameters> {
  const { context, plan, source, parameters, resumed } = options;
  const { size } = context.config.batch;
  const stepsPerEpoch = stepsOf(options);
  const engine = await StageEngine.create({
    ...options,
    config: context.config,
    preset: context.preset,
    backend: context.backend,
    folder: join(context.folder, 'stage'),
    inputs: feedTypes(source, size),
    validationInputs: feedTypes(source, 'batch'),
    totalSteps: stepsPerEpoch * plan.epochs,
    parameters,
    ...(resumed && { state: resumed.tensors }),
  });
  try {
    const position = resumed?.position ?? fresh(plan, context.journal.lines, elapsedMs);
    return await new StageRun(options, engine, stepsPerEpoch, position).run();
  } finally {
    await engine.dispose();
  }
}

/** Optimizer steps of an epoch. Studies beyond the last whole step are left for another epoch. */
function stepsOf({ context: { config, prepared } }: StageOptions): number {
  const effective = config.batch.size * config.batch.accumulation;
  return Math.max(1, Math.floor(prepared.splits.train.length / effective));
}

class StageRun {
  readonly #options: StageOptions;
  readonly #engine: StageEngine;
  readonly #stepsPerEpoch: number;
  readonly #throughput: Throughput;
  #position: RunPosition;
  #startedAt = performance.now();
  #savedAt: number;
  #order: { readonly epoch: number; readonly studies: readonly PreparedStudy[] } | undefined;

  constructor(
    options: StageOptions,
    engine: StageEngine,
    stepsPerEpoch: number,
    position: RunPosition,
  ) {
    this.#options = options;
    this.#engine = engine;
    this.#stepsPerEpoch = stepsPerEpoch;
    this.#position = position;
    this.#savedAt = position.stageStep;
    this.#throughput = new Throughput(stepsPerEpoch * options.plan.epochs);
  }

  async run(): Promise<Parameters> {
    const { plan, context } = this.#options;
    if (this.#position.stageStep === 0) {
      context.reporter.event('stage', { stage: plan.name, epochs: plan.epochs });
      await this.#save();
    }
    let ahead = this.#prepare(this.#position);
    while (this.#position.epoch < plan.epochs && !this.#hasStoppedEarly()) {
      const chunk = await ahead;
      const after = this.#after(chunk.steps);
      ahead = this.#prepare(after);
      // It is awaited in the next turn, and may fail before.
      ahead.catch(() => {});
      try {
        await this.#step(chunk, after);
      } catch (error) {
        await ahead.catch(() => {});
        throw error;
      }
    }
    await ahead.catch(() => {});
    return this.#result();
  }

  async #step(chunk: Chunk, after: RunPosition): Promise<void> {
    const { context, plan } = this.#options;
    const seed = mix32(hashName(plan.name) + context.config.seed);
    const result = await this.#engine.step(chunk.feeds, chunk.steps, seed);
    await this.#checkFinite(result, chunk);
    const before = this.#position;
    this.#position = after;
    await this.#report(result, chunk);
    if (this.#validationIsDue(before)) {
      await inSpan(context.tracer, 'validation', () => this.#validate());
    }
    const since = this.#position.stageStep - this.#savedAt;
    const isDue = since >= context.config.checkpoints.everySteps;
    if (isDue || context.signal.aborted) await this.#save();
    context.signal.throwIfAborted();
    context.check();
  }

  /** The position after `steps` more steps of this epoch. */
  #after(steps: number): RunPosition {
    const { epoch, epochStep, stageStep } = this.#position;
    const isEnd = epochStep + steps >= this.#stepsPerEpoch;
    return {
      ...this.#position,
      epoch: isEnd ? epoch + 1 : epoch,
      epochStep: isEnd ? 0 : epochStep + steps,
      stageStep: stageStep + steps,
    };
  }

  /**
   * The feeds of the next run of the engine. Runs begin at multiples of `stepsPerRun` within an epoch, so
   * that a resumed training makes the same ones: all are padded to the longest report of their run.
   */
  async #prepare({ epoch, epochStep }: RunPosition): Promise<Chunk> {
    const { source, context, plan } = this.#options;
    const { size, accumulation } = context.config.batch;
    if (epoch >= plan.epochs) return { steps: 0, studies: [], feeds: {}, answered: 0 };
    const steps = Math.min(context.config.stepsPerRun, this.#stepsPerEpoch - epochStep);
    const effective = size * accumulation;
    const order = this.#orderOf(epoch);
    const studies = Array.from(
      { length: steps * effective },
      (_, i) => order[(epochStep * effective + i) % order.length] as PreparedStudy,
    );
    const feeds = await makeFeeds(source, { studies, size, epoch, signal: context.signal });
    const answered =
      plan.reportLoss === 0
        ? 0
        : studies.reduce((sum, study) => sum + source.texts.decoderIds(study).answers.length, 0);
    return { steps, studies, feeds, answered };
  }

  #orderOf(epoch: number): readonly PreparedStudy[] {
    if (this.#order?.epoch === epoch) return this.#order.studies;
    const studies = this.#drawOrder(epoch);
    this.#order = { epoch, studies };
    return studies;
  }

  #drawOrder(epoch: number): readonly PreparedStudy[] {
    const { context, plan, source, positiveWeights } = this.#options;
    const { train } = context.prepared.splits;
    const { seed, batch, stepsPerRun } = context.config;
    const purpose = `${plan.name} ${epoch}`;
    if (plan.resampled) return resampled(train, positiveWeights, seed, epoch);
    const mixed = shuffled(train, ({ id }) => id, seed, purpose);
    if (plan.reportLoss === 0) return mixed;
    // Studies beyond the last whole step are not read in this epoch.
    const effective = batch.size * batch.accumulation;
    const used = mixed.slice(0, Math.max(effective, this.#stepsPerEpoch * effective));
    const lengthOf = (study: PreparedStudy): number =>
      source.texts.decoderIds(study).answers.length;
    return byLength(used, lengthOf, stepsPerRun * effective, seed, purpose);
  }

  async #checkFinite({ losses, finite }: StepResult, { studies, steps }: Chunk): Promise<void> {
    const { context, plan } = this.#options;
    const isMixed = context.config.precision === 'mixed';
    const isLost = (step: number): boolean =>
      !Number.isFinite(losses[step] ?? Number.NaN) || (!isMixed && finite[step] === false);
    const lost = Array.from({ length: steps }, (_, step) => step).find(isLost);
    if (lost === undefined) return;
    const each = studies.length / steps;
    const ids = studies.slice(lost * each, (lost + 1) * each).map(({ id }) => id);
    const last = await context.checkpoints.lastName();
    const message =
      `${plan.name} step ${this.#position.stageStep + lost}: the loss or its gradient is not finite ` +
      `(loss ${String(losses[lost])}); studies ${ids.join(', ')}; ` +
      `last good checkpoint ${last ?? 'none'}`;
    throw new DomainError('FAILED_PRECONDITION', 'LOSS_NOT_FINITE', message, {
      metadata: { stage: plan.name, step: `${this.#position.stageStep + lost}` },
    });
  }

  async #report(result: StepResult, chunk: Chunk): Promise<void> {
    const { context, plan } = this.#options;
    const { stageStep, epoch } = this.#position;
    const total = this.#stepsPerEpoch * plan.epochs;
    const loss = mean(result.losses);
    const norm = mean(result.gradientNorms);
    const rate = rateAt(plan.rate('decoder.', total), stageStep - 1);
    const speed = this.#throughput.after(stageStep, chunk.studies.length, chunk.answered);
    await context.journal.add({
      kind: 'steps',
      stage: plan.name,
      step: stageStep,
      epoch,
      loss,
      gradientNorm: norm,
      learningRate: rate,
      skipped: result.finite.filter((ok) => !ok).length,
      ...(result.accuracies.length > 0 && { accuracy: mean(result.accuracies) }),
    });
    context.reporter.progress({
      stage: plan.name,
      epoch,
      epochs: plan.epochs,
      step: stageStep,
      totalSteps: total,
      loss,
      learningRate: rate,
      gradientNorm: norm,
      ...(context.config.precision === 'mixed' && { lossScale: result.lossScale }),
      ...speed,
    });
  }

  #validationIsDue(before: RunPosition): boolean {
    const { everySteps } = this.#options.context.config.validation;
    const { epoch, stageStep } = this.#position;
    const isEnd = epoch >= this.#options.plan.epochs;
    if (everySteps === 0) return epoch > before.epoch;
    return isEnd || Math.floor(stageStep / everySteps) > Math.floor(before.stageStep / everySteps);
  }

  async #validate(): Promise<void> {
    const { context, plan, source } = this.#options;
    const { config, prepared, journal, reporter } = context;
    const { batch, generateEvery } = config.validation;
    const number = this.#position.validations + 1;
    const scores: Scores = await validate(this.#engine, source, prepared.splits.validate, batch);
    const isLast = this.#position.epoch >= plan.epochs;
    const generates =
      plan.reportLoss > 0 && generateEvery > 0 && (isLast || number % generateEvery === 0);
    if (generates) Object.assign(scores, await this.#options.generate(await this.#parameters()));
    const { stageStep: step, epoch } = this.#position;
    await journal.add({ kind: 'validation', stage: plan.name, step, epoch, ...scores });
    reporter.event('validation', { stage: plan.name, step, epoch, ...scores });
    this.#position = { ...this.#position, validations: number };
    await this.#compareWithBest(scores);
  }

  async #compareWithBest(scores: Scores): Promise<void> {
    const { metric, minDelta, patience } = this.#options.plan.earlyStopping;
    const value = scores[metric];
    if (value === undefined || patience === 0) return;
    const { best, worse } = this.#position;
    const gain =
      best === null ? Infinity : metric === 'loss' ? best.value - value : value - best.value;
    if (gain <= minDelta) {
      this.#position = { ...this.#position, worse: worse + 1 };
      return;
    }
    this.#position = { ...this.#position, worse: 0, best: { value, checkpoint: '' } };
    await this.#save();
  }

  #hasStoppedEarly(): boolean {
    const { patience } = this.#options.plan.earlyStopping;
    return patience > 0 && this.#position.worse >= patience;
  }

  async #parameters(): Promise<Parameters> {
    return this.#merged(await this.#engine.readState());
  }

  #merged(state: ReadonlyMap<string, Tensor>): Parameters {
    const merged = new Map(this.#options.parameters);
    for (const name of this.#engine.trained) merged.set(name, state.get(name) as Tensor);
    return merged;
  }

  async #save(): Promise<void> {
    const { context } = this.#options;
    const now = performance.now();
    this.#position = {
      ...this.#position,
      metricLines: context.journal.lines,
      elapsedMs: this.#position.elapsedMs + now - this.#startedAt,
    };
    this.#startedAt = now;
    const name = await inSpan(context.tracer, 'checkpoint', async () => {
      const state = await this.#engine.readState();
      const tensors = new Map<string, Tensor>([...this.#options.parameters, ...state]);
      return context.checkpoints.save(this.#position, tensors);
    });
    const { best } = this.#position;
    if (best?.checkpoint === '') {
      this.#position = { ...this.#position, best: { ...best, checkpoint: name } };
    }
    this.#savedAt = this.#position.stageStep;
    const { stage, stageStep: step } = this.#position;
    context.reporter.event('checkpoint', { checkpoint: name, stage, step });
  }

  async #result(): Promise<Parameters> {
    const { context } = this.#options;
    const { best, worse } = this.#position;
    if (best === null || worse === 0) return this.#parameters();
    try {
      return this.#merged((await context.checkpoints.load(best.checkpoint)).tensors);
    } catch (error) {
      if (!(error instanceof DomainError)) throw error;
      const message = `${error.message}; the last weights are used instead of the best`;
      context.reporter.event('warning', { reason: error.reason, message });
      return this.#parameters();
    }
  }
}

interface Chunk {
  readonly steps: number;
  readonly studies: readonly PreparedStudy[];
  readonly feeds: Readonly<Record<string, Tensor>>;
  /** Tokens of its reports, padding not counted. */
  readonly answered: number;
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
