import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Tensor } from '../lib/graph/types.ts';
import { loadPreset } from '../lib/models/preset.ts';
import { type VariantName, tokenShape, variantNames } from '../lib/models/variants.ts';
import { type Backend, type Provider, createBackend } from '../lib/runtime/backend.ts';
import { mergeConfigs, parseConfig, trainingPreset } from '../lib/training/config.ts';
import { RunCheckpoints, type RunPosition } from '../lib/training/checkpoint.ts';
import { openDataset } from '../lib/training/data/open.ts';
import { prepareDataset } from '../lib/training/data/prepared.ts';
import { loadTexts, makeTokenizers } from '../lib/training/data/texts.ts';
import { StageEngine } from '../lib/training/engine.ts';
import type { FeatureCache } from '../lib/training/features.ts';
import { type FeedSource, feedTypes, makeFeeds } from '../lib/training/feeds.ts';
import { initialParameters } from '../lib/training/initial.ts';
import { planStages } from '../lib/training/stages.ts';
import { validate } from '../lib/training/validate.ts';
import { matMulCeiling } from './support/ceiling.ts';
import { median, print, timed } from './support/measure.ts';

/**
 * `npm run bench -- trainer [VARIANT]`: the stages of the demo preset.
 * `npm run bench -- trainer step [VARIANT] [ACCUMULATION] [PROVIDER]`: one optimizer step of the paper's.
 */
export async function run(args: string[]): Promise<void> {
  const [what, name = 'vit-label', accumulation = '8', provider = 'cpu'] = args;
  if (what === 'step') return inOwnProcess('step', name, accumulation, provider);
  const variant = args.find((name) => variantNames.some((known) => known === name));
  return inOwnProcess('stages', variant ?? 'vit-label');
}

/** Peak memory belongs to a process. */
async function inOwnProcess(...args: readonly string[]): Promise<void> {
  const child = fork(import.meta.filename, args);
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) process.exitCode = 1;
}

interface Job {
  readonly variant: VariantName;
  readonly backend: Backend;
  readonly folder: string;
}

const percent = (part: number, whole: number): string => `${((100 * part) / whole).toFixed(0)} %`;
const peakMegabytes = (): string => `${(process.resourceUsage().maxRSS / 1024).toFixed(0)} MB`;

async function setUp({ variant, folder }: Job, preset: string, data: string, changes = {}) {
  const config = parseConfig(
    mergeConfigs(trainingPreset(preset, variant), { variant, preset, data, ...changes }),
  );
  const sizes = loadPreset(preset);
  const dataset = await openDataset(data);
  const side = sizes.imageSize;
  const preprocessing = { ...config.preprocessing, height: side, width: side };
  const options = { preprocessing, limits: {}, seed: 0, cache: folder };
  const prepared = await prepareDataset(dataset, options);
  await makeTokenizers(folder, prepared.splits, config, sizes);
  const texts = loadTexts(folder, config, sizes);
  return { config, preset: sizes, prepared, texts };
}

/** Features of the right shape: what is in them does not change what a step costs. */
function anyFeatures(variant: VariantName, preset: ReturnType<typeof loadPreset>): FeatureCache {
  const { tokens, channels } = tokenShape(variant, preset);
  const shapes = { tokens: [tokens, channels], pooled: [channels] };
  return {
    shapeOf: (kind) => shapes[kind],
    read: async (kind) =>
      new Float32Array(shapes[kind].reduce((product, dim) => product * dim, 1)).fill(0.1),
    close: async () => {},
  };
}

type SetUp = Awaited<ReturnType<typeof setUp>>;

async function openStage(job: Job, made: SetUp, plan: FeedSource['plan']) {
  const { config, preset, prepared, texts } = made;
  // New ones: an engine takes those that it trains.
  const { parameters } = await initialParameters(config, preset);
  const features = anyFeatures(job.variant, preset);
  const { tokens } = tokenShape(job.variant, preset);
  const source: FeedSource = {
    plan,
    config,
    preset,
    prepared,
    texts,
    features,
    imageTokens: tokens,
  };
  const engine = await StageEngine.create({
    plan,
    config,
    preset,
    positiveWeights: Array.from({ length: 14 }, () => 2),
    backend: job.backend,
    folder: join(job.folder, 'stage'),
    inputs: feedTypes(source, config.batch.size),
    validationInputs: feedTypes(source, 'batch'),
    totalSteps: 1000,
    parameters,
  });
  return { engine, source };
}

const position = (stage: RunPosition['stage']): RunPosition => ({
  stage,
  epoch: 0,
  epochStep: 0,
  stageStep: 0,
  validations: 0,
  worse: 0,
  best: null,
  metricLines: 0,
  elapsedMs: 0,
});

/** Studies a second of the demo preset in each stage, and where the time of an epoch goes. */
async function stages(job: Job): Promise<void> {
  const made = await setUp(job, 'demo', 'phantom:64?size=128');
  const { config, prepared } = made;
  const ceiling = await matMulCeiling(job.backend);
  const { train, validate: held } = prepared.splits;
  const [steps, rounds] = [config.stepsPerRun, 3];
  const size = config.batch.size;
  const count = steps * size * config.batch.accumulation;
  const studies = Array.from({ length: count }, (_, i) => train[i % train.length]!);
  print(
    `trainer, preset demo, ${job.variant}: ${rounds} runs of ${steps} steps of ${size} studies`,
  );
  print('stage     studies/s   data  compute  copying  validation   GFLOP/s  of MatMul');
  for (const plan of planStages(config)) {
    const { engine, source } = await openStage(job, made, plan);
    const checkpoints = new RunCheckpoints(join(job.folder, 'checkpoints'), 1);
    const times = { data: [] as number[], step: [] as number[], ceiling: [] as number[] };
    for (let round = -1; round < rounds; round++) {
      let feeds: Record<string, Tensor> = {};
      const data = await timed(async () => {
        feeds = await makeFeeds(source, { studies, size, epoch: round + 1 });
      });
      const step = await timed(() => engine.step(feeds, steps, 1));
      const best = await timed(() => ceiling.run());
      if (round < 0) continue;
      times.data.push(data);
      times.step.push(step);
      times.ceiling.push(best);
    }
    const copying = await timed(async () => {
      await checkpoints.save(position(plan.name), await engine.readState());
    });
    const validating = await timed(() => validate(engine, source, held, config.validation.batch));
    // Feeds are made while the engine computes; an epoch of 3000 studies validates 300 and saves once.
    const [data, step] = [median(times.data), median(times.step)];
    const epoch = {
      data: (Math.max(0, data - step) * 3000) / count,
      compute: (step * 3000) / count,
      copying,
      validation: (validating * 300) / held.length,
    };
    const whole = Object.values(epoch).reduce((sum, ms) => sum + ms, 0);
    const lengths = {
      text: widthOf(source, studies, 'textIds'),
      length: widthOf(source, studies, 'decoderIds'),
    };
    const flops = engine.flops(steps, lengths);
    const rate = flops / step / 1e6;
    const best = ceiling.flops / median(times.ceiling) / 1e6;
    print(
      [
        plan.name.padEnd(8),
        ((1000 * count) / Math.max(step, data)).toFixed(0).padStart(10),
        ...[epoch.data, epoch.compute, epoch.copying, epoch.validation].map((ms) =>
          percent(ms, whole).padStart(7),
        ),
        rate.toFixed(1).padStart(12),
        percent(rate, best).padStart(10),
      ].join(' '),
    );
    await engine.dispose();
  }
  print(`making feeds beside the engine hides them; peak memory ${peakMegabytes()}`);
  await ceiling.dispose();
}

/** The padded length that `makeFeeds` gives these studies. */
function widthOf(
  source: FeedSource,
  studies: FeedSource['prepared']['splits']['train'],
  what: string,
): number {
  const rows = studies.map((study) =>
    what === 'textIds' ? source.texts.encoderIds(study) : source.texts.decoderIds(study).reads,
  );
  return Math.ceil(Math.max(1, ...rows.map(({ length }) => length)) / 8) * 8;
}

/** One optimizer step of the paper's model at 512 x 512, as stage 2 takes it. */
async function step(job: Job, accumulation: number): Promise<void> {
  const made = await setUp(job, 'paper', 'phantom:12?size=512', {
    studies: {},
    precision: 'float32',
    batch: { size: 2, accumulation },
  });
  const { config, prepared } = made;
  const plan = planStages(config).find(({ name }) => name === 'stage2');
  if (!plan) throw new RangeError('there is no stage 2');
  const ceiling = await matMulCeiling(job.backend);
  await ceiling.run();
  const bestMs = await timed(() => ceiling.run());
  await ceiling.dispose();
  let opened: Awaited<ReturnType<typeof openStage>> | undefined;
  const loading = await timed(async () => {
    opened = await openStage(job, made, plan);
  });
  if (!opened) throw new RangeError('the stage did not open');
  const { engine, source } = opened;
  const { train } = prepared.splits;
  const studies = Array.from({ length: 2 * accumulation }, (_, i) => train[i % train.length]!);
  const feeds = await makeFeeds(source, { studies, size: 2, epoch: 0 });
  const lengths = {
    text: widthOf(source, studies, 'textIds'),
    length: widthOf(source, studies, 'decoderIds'),
  };
  const flops = engine.flops(1, lengths);
  const stepMs = await timed(() => engine.step(feeds, 1, 1));
  const rate = flops / stepMs / 1e6;
  const best = matMulRate(bestMs);
  print(
    `one optimizer step, paper ${job.variant}, 512 x 512, stage 2, float32, ${job.backend.provider}`,
  );
  print(
    `  batch 2 x ${accumulation}, ${lengths.length} report tokens, ${lengths.text} label tokens`,
  );
  print(`  time        ${(stepMs / 1000).toFixed(1)} s (loading ${(loading / 1000).toFixed(1)} s)`);
  print(`  work        ${(flops / 1e12).toFixed(2)} TFLOP at ${rate.toFixed(1)} GFLOP/s`);
  print(`  of MatMul   ${percent(rate, best)} of ${best.toFixed(1)} GFLOP/s in the same process`);
  print(`  peak memory ${peakMegabytes()}`);
  await engine.dispose();
}

const matMulRate = (ms: number): number => (12 * 2 * 1024 ** 3) / ms / 1e6;

if (process.send) {
  const [what = '', name = '', accumulation = '8', provider = 'cpu'] = process.argv.slice(2);
  const folder = await mkdtemp(join(tmpdir(), 'radscribe-bench-'));
  const backend = await createBackend({ provider: provider as Provider });
  const job = { variant: name as VariantName, backend, folder };
  try {
    if (what === 'step') await step(job, Number(accumulation));
    else await stages(job);
  } finally {
    await backend.dispose();
    await rm(folder, { recursive: true, force: true });
  }
  process.disconnect();
}
