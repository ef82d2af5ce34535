import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { DomainError, invalidArgument } from '../errors.ts';
import { imagenet } from '../image/preprocess.ts';
import { type DecodingOptions, parseDecodingOptions } from '../releases/decoding.ts';
import { loadPreset, presetNames } from '../models/preset.ts';
import { backboneOf, variantNames } from '../models/variants.ts';
import { parseDataset } from './data/open.ts';

const count = z.int().min(1);
const share = z.number().min(0).max(1);
const rate = z.number().positive().max(1);
const epochs = z.int().min(0);

/** A learning rate: linear warm-up to `peak`, then half a cosine down to `floor`. */
const schedule = z.strictObject({ peak: rate, floor: z.number().min(0).max(1) });
const part = z.enum(['vision', 'encoder', 'decoder', 'labeler']);

const earlyStopping = z.strictObject({
  /** A lower `loss` is better; of all others, a higher value. */
  metric: z.enum(['loss', 'accuracy', 'bleu4', 'rougeL', 'pooledF1', 'clinicalF1', 'labelF1']),
  /** Validations in a row without an improvement, after which the stage ends; 0: never. */
  patience: z.int().min(0),
  minDelta: z.number().min(0).default(0),
});
export type EarlyStopping = z.infer<typeof earlyStopping>;
const stopping = (metric: EarlyStopping['metric'], patience: number) =>
  earlyStopping.default({ metric, patience, minDelta: 0 });

/**
 * Everything that decides what a training run does. The defaults are the paper's; where the paper gives
 * none, the comment says "our choice".
 */
const schema = z.strictObject({
  variant: z.enum(variantNames),
  /** Sizes of the model: the name of a preset, or a JSON file. */
  preset: z.string().min(1).default('paper'),
  /** `mimic:FOLDER`, `iu:FOLDER` or `phantom:N`; see lib/data. */
  data: z.string().min(1),
  seed: z.int().min(0).max(0xffffffff).default(0),
  /** Studies of each split that are used, chosen by the seed; the paper's are 10,000 and 500. */
  studies: z
    .strictObject({ train: count, validate: count, test: count })
    .partial()
    .default({ train: 10_000, validate: 500 }),
  /** Threads of an operator on the CPU; 0: all cores. Another number may round differently. */
  threads: z.int().min(0).default(0),
  provider: z.enum(['cpu', 'webgpu', 'cuda']).default('cpu'),
  /**
   * Weights to start from, a release folder or a .safetensors file: those whose name and shape fit.
   * Null: every parameter starts at random.
   */
  initialWeights: z.string().nullable().default(null),
  /**
   * How parameters are initialized that no file gives. `original`: as in the implementations that the
   * paper fine-tunes. `scratch`: for a vision transformer trained from nothing, with sines for positions
   * and weights of 1 / sqrt(inputs).
   */
  initialization: z.enum(['original', 'scratch']).default('original'),
  /** Id of the release that `initialWeights` are of, for the provenance. */
  parent: z.string().nullable().default(null),
  /** tokenizer.json files; null: trained on the reports of the training split. */
  tokenizers: z
    .strictObject({
      encoder: z.string().nullable().default(null),
      decoder: z.string().nullable().default(null),
    })
    .prefault({}),
  /** From an image to the model's input; our choice except for the normalization. */
  preprocessing: z
    .strictObject({
      resize: z.enum(['stretch', 'cover', 'contain']).default('contain'),
      pad: share.default(0),
      kernel: z
        .enum(['nearest', 'linear', 'cubic', 'mitchell', 'lanczos2', 'lanczos3'])
        .default('linear'),
      mean: z.tuple([z.number(), z.number(), z.number()]).default([...imagenet.mean]),
      std: z.tuple([z.number(), z.number(), z.number()]).default([...imagenet.std]),
    })
    .prefault({}),
  /** Our choice. Never a flip: it would put the heart on the other side. */
  augmentation: z
    .strictObject({
      rotationDegrees: z.number().min(0).max(30).default(5),
      /** Share of the side. */
      shift: z.number().min(0).max(0.25).default(0.03),
      contrast: z.number().min(0).max(0.5).default(0.1),
    })
    .prefault({}),
  /** Effective batch 16 = 2 x 8. */
  batch: z.strictObject({ size: count.default(2), accumulation: count.default(8) }).prefault({}),
  precision: z.enum(['mixed', 'float32']).default('mixed'),
  lossScale: z
    .strictObject({
      initial: z.number().min(1).default(65536),
      growthInterval: count.default(2000),
    })
    .prefault({}),
  /** AdamW. The paper gives only its name: these are PyTorch's values and the usual clipping. */
  optimizer: z
    .strictObject({
      beta1: share.default(0.9),
      beta2: share.default(0.999),
      epsilon: z.number().positive().default(1e-8),
      weightDecay: z.number().min(0).default(0.01),
      maxNorm: z.number().positive().default(1),
    })
    .prefault({}),
  dropout: z.number().min(0).max(0.9).default(0.1),
  /** Keep a random sample of the image tokens while training, as MedViLL does. */
  sampleImageTokens: z.boolean().default(false),
  maskMode: z
    .enum(['full', 'sequence-to-sequence', 'bidirectional-auto-regressive'])
    .default('full'),
  /** The text that a plain variant reads beside the image. */
  indication: z.enum(['none', 'given']).default('none'),
  /** The label classifier, before stage 1. The paper gives no values: our choice. */
  labels: z
    .strictObject({
      epochs: epochs.default(10),
      learningRate: schedule.default({ peak: 1e-3, floor: 1e-5 }),
      warmupShare: share.default(0.1),
      imbalance: z.enum(['positive-weights', 'resampling', 'none']).default('positive-weights'),
      /** Positive weights are (negatives / positives)^power, at most `maxPositiveWeight`. */
      positiveWeightPower: share.default(0.5),
      maxPositiveWeight: z.number().min(1).default(10),
      /** What an uncertain label counts as. */
      uncertain: z.enum(['positive', 'negative', 'ignore']).default('positive'),
      /** Trains the vision encoder too, by the label loss: for presets without pretrained weights. */
      trainVision: z.boolean().default(false),
      /** Batch normalization with the batch's own statistics while the vision encoder is trained. */
      batchStatistics: z.boolean().default(false),
      /** `muon` trains the matrices of a transformer from nothing in half the steps of AdamW. */
      optimizer: z.enum(['adamw', 'muon']).default('adamw'),
      earlyStopping: stopping('loss', 3),
      /** Trains the classifier again after stage 2, whose features are others. */
      refitEpochs: epochs.default(10),
    })
    .prefault({}),
  stage1: z
    .strictObject({
      epochs: epochs.default(3),
      learningRate: schedule.default({ peak: 2e-5, floor: 2e-5 }),
      warmupShare: share.default(0),
      /** The cross-attention layers of label variants are trained with the decoder in any case. */
      frozen: z.array(part).default(['vision', 'encoder']),
      earlyStopping: stopping('loss', 0),
    })
    .prefault({}),
  stage2: z
    .strictObject({
      epochs: epochs.default(20),
      encoderRate: schedule.default({ peak: 5e-5, floor: 1e-5 }),
      decoderRate: schedule.default({ peak: 1e-4, floor: 2e-5 }),
      warmupShare: share.default(0.1),
      frozen: z.array(part).default([]),
      /** Weight of the label loss, which keeps the features that the classifier needs; our choice. */
      labelLoss: z.number().min(0).default(0),
      earlyStopping: stopping('loss', 3),
    })
    .prefault({}),
  validation: z
    .strictObject({
      /** Optimizer steps between validations; 0: at the end of each epoch. */
      everySteps: z.int().min(0).default(0),
      /** Every n-th validation also generates reports and measures them; 0: none. */
      generateEvery: z.int().min(0).default(1),
      generatedStudies: count.default(50),
      /** Studies of a batch. */
      batch: count.default(8),
    })
    .prefault({}),
  checkpoints: z
    .strictObject({ everySteps: count.default(200), keep: count.default(3) })
    .prefault({}),
  /** Optimizer steps in one run of the engine. */
  stepsPerRun: count.default(8),
  evaluation: z
    .strictObject({
      split: z.enum(['validate', 'test']).default('test'),
      studies: count.default(500),
      beams: count.default(1),
      /** Decoding repeats no sequence of this many tokens; 0: no limit. Part of the release, as `beams`. */
      noRepeatNgram: z.int().min(0).max(1024).default(0),
    })
    .prefault({}),
});

export type TrainingConfig = z.infer<typeof schema>;
export type ConfigInput = z.input<typeof schema>;

/** Checks a config and fills in its defaults. Throws CONFIG_INVALID that names the field. */
export function parseConfig(json: unknown, where = 'config'): TrainingConfig {
  const parsed = schema.safeParse(json);
  if (parsed.success) {
    checkBetween(parsed.data, where);
    return parsed.data;
  }
  const [issue] = parsed.error.issues;
  const unknown = issue?.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [];
  const field = [where, ...(issue?.path ?? []).map(String), ...unknown].join('.');
  throw invalidArgument('CONFIG_INVALID', field, issue?.message ?? 'is not a training config');
}

function checkBetween({ labels, stage1, stage2 }: TrainingConfig, where: string): void {
  const rates = [
    ['labels.learningRate', labels.learningRate],
    ['stage1.learningRate', stage1.learningRate],
    ['stage2.encoderRate', stage2.encoderRate],
    ['stage2.decoderRate', stage2.decoderRate],
  ] as const;
  for (const [field, { peak, floor }] of rates) {
    if (floor <= peak) continue;
    const message = `the floor ${floor} is above the peak ${peak}`;
    throw invalidArgument('CONFIG_INVALID', `${where}.${field}`, message);
  }
}

/** JSON as a config file holds it: objects in objects. */
export interface JsonObject {
  readonly [key: string]: JsonValue;
}
export type JsonValue = string | number | boolean | null | readonly JsonValue[] | JsonObject;

const isObject = (value: JsonValue | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The later one wins, field by field. */
export function mergeConfigs(base: JsonObject, over: JsonObject): JsonObject {
  const merged: Record<string, JsonValue> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const before = merged[key];
    merged[key] = isObject(before) && isObject(value) ? mergeConfigs(before, value) : value;
  }
  return merged;
}

/** `stage2.epochs=4` as `{stage2: {epochs: 4}}`; a value that is not JSON is a string. */
export function parseSetting(text: string): JsonObject {
  const at = text.indexOf('=');
  if (at < 1)
    throw invalidArgument('SETTING_MALFORMED', '--set', `got ${text}, expected field=value`);
  let value: JsonValue;
  try {
    value = JSON.parse(text.slice(at + 1)) as JsonValue;
  } catch {
    value = text.slice(at + 1);
  }
  return text
    .slice(0, at)
    .split('.')
    .reduceRight<JsonValue>((inner, key) => ({ [key]: inner }), value) as JsonObject;
}

/** The object that a text holds as JSON. Throws CONFIG_INVALID that names `where`. */
export function parseConfigText(text: string, where: string): JsonObject {
  let json: JsonValue;
  try {
    json = JSON.parse(text) as JsonValue;
  } catch (cause) {
    throw invalidArgument('CONFIG_INVALID', where, 'is not JSON', { cause });
  }
  if (isObject(json)) return json;
  throw invalidArgument('CONFIG_INVALID', where, 'is not a JSON object');
}

/** Throws CONFIG_NOT_FOUND and CONFIG_INVALID. */
export function readConfigFile(path: string): JsonObject {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    const message = `${path}: no readable config file`;
    throw new DomainError('NOT_FOUND', 'CONFIG_NOT_FOUND', message, { field: '--config', cause });
  }
  return parseConfigText(text, path);
}

/**
 * The whole config of a run: the fields that were given, over those of its preset, over the defaults.
 * What would only fail when the run starts, which may be tomorrow, is checked here: the preset's sizes
 * and the form of the dataset's place. Throws CONFIG_INVALID, PRESET_NOT_FOUND, PRESET_INVALID and
 * DATA_UNKNOWN.
 */
export function completeConfig(given: JsonObject, where = 'config'): TrainingConfig {
  const preset = trainingPreset(given['preset'], given['variant']);
  const config = parseConfig(mergeConfigs(preset, given), where);
  loadPreset(config.preset);
  parseDataset(config.data, `${where}.data`);
  return config;
}

/**
 * How a preset that comes with the program is trained: the files in `presets/`, where a backbone may
 * have a file of its own that lies over the preset's.
 */
export function trainingPreset(
  preset: JsonValue | undefined,
  variant: JsonValue | undefined,
): JsonObject {
  const name = presetNames.find((known) => known === preset);
  if (name === undefined || name === 'paper') return {};
  const known = variantNames.find((known) => known === variant);
  const files = [name, ...(known ? [`${name}.${backboneOf(known)}`] : [])];
  return files
    .map((file) => fileURLToPath(new URL(`presets/${file}.json`, import.meta.url)))
    .filter((path) => existsSync(path))
    .map(readConfigFile)
    .reduce(mergeConfigs, {});
}

/** A release's decoding options: the default for its requests, and used to evaluate it. */
export const decodingOf = (
  { evaluation: { beams, noRepeatNgram } }: TrainingConfig,
  maxTokens: number,
): DecodingOptions =>
  parseDecodingOptions({
    strategy: beams > 1 ? 'beam' : 'greedy',
    beams,
    noRepeatNgram,
    maxTokens,
  });
