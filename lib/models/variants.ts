import { o } from '../graph/build.ts';
import { deriveKey } from '../graph/functions.ts';
import { optimize } from '../graph/passes.ts';
import { type Graph, type Value, input } from '../graph/value.ts';
import { denseNet } from './densenet.ts';
import { type MaskMode, fusionEncoder } from './fusion.ts';
import { dense } from './layers.ts';
import { Dropouts, type Training } from './mode.ts';
import { type VariantName, backboneOf, isLabelVariant } from './names.ts';
import { type ParameterSpec, type Scope, ParameterSet, torchLinear } from './parameters.ts';
import type { Preset } from './preset.ts';
import { resNet } from './resnet.ts';
import { decoderStepGraph, servedMemory } from './t5-step.ts';
import { t5Decoder } from './t5.ts';
import { vit } from './vit.ts';

export {
  type Backbone,
  type VariantName,
  backboneOf,
  isLabelVariant,
  variantNames,
} from './names.ts';

/** The labels of the classifier: lib/text/labels/observations.ts names them, in that order. */
const labelCount = 14;

/** Each part of a variant numbers its dropouts from 0, so each has its own key. */
const partKeys = { vision: 1, labeler: 2, encoder: 3, decoder: 4 } as const;
const within = (
  part: keyof typeof partKeys,
  training: Training | undefined,
): Training | undefined =>
  training && { ...training, key: deriveKey(training.key, partKeys[part]) };

/** [batch, C, h, w] -> [batch, h * w, C] */
function flattenGrid(map: Value): Value {
  const [batch = 1, channels = 1, height = 1, width = 1] = map.shape;
  const rows = o.Reshape(map, [batch, channels, Number(height) * Number(width)]);
  return o.Transpose(rows, [0, 2, 1]);
}

/** Patch tokens [batch, side * side, C], averaged over squares of pool * pool. */
function poolPatches(tokens: Value, pool: number): Value {
  if (pool === 1) return tokens;
  const [batch = 1, patches = 1, channels = 1] = tokens.shape;
  const side = Math.sqrt(Number(patches));
  const map = o.Reshape(o.Transpose(tokens, [0, 2, 1]), [batch, channels, side, side]);
  return flattenGrid(o.AveragePool(map, [pool, pool]));
}

/** image [batch, 3, H, W], normalized -> `tokens` [batch, N, C] and `pooled` [batch, C]. */
export function visionModel(
  root: Scope,
  image: Value,
  preset: Preset,
  variant: VariantName,
  training?: Training,
): { tokens: Value; pooled: Value } {
  const scope = root.scope('vision');
  const mode = within('vision', training);
  const backbone = backboneOf(variant);
  if (backbone === 'vit') {
    const states = vit(scope, image, preset.vit, mode);
    return {
      tokens: poolPatches(o.Slice(states, [1], [Infinity], [1]), preset.vit.poolGrid),
      pooled: o.Squeeze(o.Slice(states, [0], [1], [1]), [1]),
    };
  }
  const map =
    backbone === 'chexnet'
      ? denseNet(scope, image, preset.densenet, mode)
      : resNet(scope, image, preset.resnet, mode);
  return { tokens: flattenGrid(map), pooled: o.ReduceMean(map, [2, 3]) };
}

/** pooled [batch, C] -> logits [batch, 14] of the CheXpert observations. */
export function labelerModel(root: Scope, pooled: Value, training?: Training): Value {
  const start = torchLinear(Number(pooled.shape.at(-1)));
  const dropped = new Dropouts(within('labeler', training)).apply(pooled);
  return dense(root.scope('labeler'), 'classifier', dropped, labelCount, start, start);
}

export interface EncoderInputs {
  /** Vision tokens [batch, N, C]. */
  readonly tokens: Value;
  /** Label or indication text [batch, text] int64, closed by [SEP]; `closeText` makes a row. */
  readonly textIds: Value;
  /** int64 [batch, text]: 1 for a token (the [SEP] included), 0 for padding. */
  readonly textMask: Value;
  /** While training: sorted indices [kept] int64 of the image tokens kept. Default: all. */
  readonly imageIndex?: Value | undefined;
}

export interface Memory {
  /** The states that the decoder attends to, [batch, M, dModel], M = image + text + 2. */
  readonly memory: Value;
  /** The bias that masks padded text in that attention, [batch, 1, 1, M]. */
  readonly memoryBias: Value;
}

export interface EncoderOptions {
  /** Default `full`; the others are MedViLL's, for training. */
  readonly maskMode?: MaskMode;
  readonly training?: Training | undefined;
}

/** The fusion encoder, and the projection to the decoder's width where it differs. */
export function encoderModel(
  root: Scope,
  inputs: EncoderInputs,
  preset: Preset,
  variant: VariantName,
  { maskMode = 'full', training }: EncoderOptions = {},
): Memory {
  const { hidden, memoryBias } = fusionEncoder(root.scope('encoder'), inputs, preset.fusion, {
    labelAttention: isLabelVariant(variant),
    maskMode,
    training: within('encoder', training),
  });
  const { dModel } = preset.t5;
  if (preset.fusion.hidden === dModel) return { memory: hidden, memoryBias };
  const start = torchLinear(preset.fusion.hidden);
  return { memory: dense(root, 'projection', hidden, dModel, start, start), memoryBias };
}

/**
 * Teacher-forced: ids [batch, length] int64, the report shifted right behind the start token 0 ->
 * logits [batch, length, vocabulary] of the token after each.
 */
export const decoderModel = (
  root: Scope,
  ids: Value,
  { memory, memoryBias }: Memory,
  preset: Preset,
  training?: Training,
): Value =>
  t5Decoder(root.scope('decoder'), ids, memory, memoryBias, preset.t5, within('decoder', training));

/** Image and text to the logits of a report: the variant as a whole, as it is trained. */
export function reportModel(
  root: Scope,
  batch: Omit<EncoderInputs, 'tokens'> & { readonly image: Value; readonly decoderIds: Value },
  preset: Preset,
  variant: VariantName,
  options: EncoderOptions = {},
): Value {
  const { tokens } = visionModel(root, batch.image, preset, variant, options.training);
  const memory = encoderModel(root, { ...batch, tokens }, preset, variant, options);
  return decoderModel(root, batch.decoderIds, memory, preset, options.training);
}

/** A row of encoder text: cut to the preset's limit, closed by [SEP]. */
export const closeText = (ids: readonly number[], { maxTextTokens, fusion }: Preset): number[] => [
  ...ids.slice(0, maxTextTokens),
  fusion.sep,
];

/** The image input of a preset. */
export const imageInput = ({ imageSize }: Preset): Value =>
  input('image', 'float32', ['batch', 3, imageSize, imageSize]);

/** The number of vision tokens of a variant, and of channels in each. */
export function tokenShape(
  variant: VariantName,
  preset: Preset,
): { readonly tokens: number; readonly channels: number } {
  const { tokens } = visionModel(new ParameterSet(), imageInput(preset), preset, variant);
  return { tokens: Number(tokens.shape[1]), channels: Number(tokens.shape[2]) };
}

const graph = (inputs: readonly Value[], outputs: Readonly<Record<string, Value>>): Graph =>
  optimize({
    inputs,
    outputs: Object.entries(outputs).map(([name, value]) => ({ name, value })),
  });

function encoderGraph(root: Scope, variant: VariantName, preset: Preset): Graph {
  const { tokens: count, channels } = tokenShape(variant, preset);
  const tokens = input('tokens', 'float32', ['batch', count, channels]);
  const textIds = input('textIds', 'int64', ['batch', 'text']);
  const textMask = input('textMask', 'int64', ['batch', 'text']);
  const inputs = { tokens, textIds, textMask };
  const { memory, memoryBias } = encoderModel(root, inputs, preset, variant);
  const cross = servedMemory(root.scope('decoder'), memory, preset.t5);
  return graph([tokens, textIds, textMask], { ...cross, memoryBias });
}

/**
 * The graphs of a release; their weights are parameters, found by name.
 *
 * - vision: `image` float32 [batch,3,H,W] -> `tokens` [batch,N,C], `pooled` [batch,C]
 * - labeler: `pooled` [batch,C] -> `logits` [batch,14]
 * - encoder: `tokens`, `textIds` and `textMask` int64 [batch,text] -> `cross.{i}.key|value`
 *   [batch,heads,dKv,M] and [batch,heads,M,dKv] of every decoder layer, `memoryBias` [batch,1,1,M]
 * - decoder, one step of the running batch: see t5-step.ts; lib/runtime/decode runs it
 */
export function servingGraphs(
  variant: VariantName,
  preset: Preset,
): { vision: Graph; labeler: Graph; encoder: Graph; decoder: Graph } {
  const root = new ParameterSet();
  const image = imageInput(preset);
  const { tokens, pooled } = visionModel(root, image, preset, variant);
  const pooledInput = input('pooled', 'float32', pooled.shape);
  return {
    vision: graph([image], { tokens, pooled }),
    labeler: graph([pooledInput], { logits: labelerModel(root, pooledInput) }),
    encoder: encoderGraph(root, variant, preset),
    decoder: optimize(decoderStepGraph(root.scope('decoder'), preset.t5)),
  };
}

/** Every parameter and buffer of a variant: `vision.`, `labeler.`, `encoder.`, `projection.`, `decoder.`. */
export function variantParameters(variant: VariantName, preset: Preset): ParameterSpec[] {
  const root = new ParameterSet();
  const image = imageInput(preset);
  const textIds = input('textIds', 'int64', ['batch', 'text']);
  const textMask = input('textMask', 'int64', ['batch', 'text']);
  const decoderIds = input('decoderIds', 'int64', ['batch', 'length']);
  const { tokens, pooled } = visionModel(root, image, preset, variant);
  labelerModel(root, pooled);
  const memory = encoderModel(root, { tokens, textIds, textMask }, preset, variant);
  decoderModel(root, decoderIds, memory, preset);
  return [...root.specs];
}

/** The release's weight files: `vision.safetensors`, `labeler.safetensors`, `generator.safetensors`. */
export type WeightPart = 'vision' | 'labeler' | 'generator';

/** Which of them holds a parameter. */
export function weightPartOf(name: string): WeightPart {
  const [part] = name.split('.', 1);
  return part === 'vision' || part === 'labeler' ? part : 'generator';
}
