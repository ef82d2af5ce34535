import { o } from '../graph/build.ts';
import { type Value, constantOf, scalar } from '../graph/value.ts';
import {
  type BertConfig,
  bertAttention,
  bertEmbed,
  bertEmbeddingNorm,
  bertLayers,
  bertStart,
  bertTables,
} from './bert.ts';
import { dense, maskBias, positions } from './layers.ts';
import { Dropouts, type Training } from './mode.ts';
import type { Scope } from './parameters.ts';

/** Which tokens of the joint stream attend to which (MedViLL, Moon et al. 2022). */
export type MaskMode = 'full' | 'sequence-to-sequence' | 'bidirectional-auto-regressive';

export interface FusionConfig extends BertConfig {
  /** Cross-attention layers of the label variants. */
  readonly labelLayers: number;
  /** Ids of the special tokens in the encoder's vocabulary. */
  readonly cls: number;
  readonly sep: number;
}

export interface FusionInputs {
  /** Vision tokens [batch, image, channels]. */
  readonly tokens: Value;
  /** Text ids [batch, text] int64, the closing [SEP] included: an empty text is [SEP] alone. */
  readonly textIds: Value;
  /** 1 for a text token, 0 for padding, [batch, text]. */
  readonly textMask: Value;
  /** Sorted indices [kept] int64 of the image tokens kept. Default: all. */
  readonly imageIndex?: Value | undefined;
}

export interface FusionOptions {
  /** Label variants condition the image tokens on the text, which then holds the labels. */
  readonly labelAttention: boolean;
  readonly maskMode?: MaskMode;
  readonly training?: Training | undefined;
}

/** [1] int64 */
const one = (id: number): Value => constantOf([id], 'int64');

/** One special token for every row of `rows` [batch, ...]: [batch, 1, hidden], position 0, segment 0. */
function special(scope: Scope, id: number, rows: Value, config: FusionConfig): Value {
  const embedded = bertEmbed(
    scope,
    constantOf([id], 'int64', [1, 1]),
    constantOf([0], 'int64', [1, 1]),
    config,
  );
  return o.ExpandLike(embedded, o.Slice(rows, [0], [1], [1]));
}

/** Image tokens in the encoder's space: linear map, grid position, segment 0, the shared LayerNorm. */
function embedImage(
  scope: Scope,
  { tokens, imageIndex }: FusionInputs,
  config: FusionConfig,
): Value {
  const { position, segment } = bertTables(scope, config);
  const kept = imageIndex ? o.Gather(tokens, imageIndex, 1) : tokens;
  const projected = dense(scope, 'image_embeddings.projection', kept, config.hidden, bertStart);
  const grid = o.Gather(position, imageIndex ?? positions(tokens));
  return bertEmbeddingNorm(scope, o.Add(o.Add(projected, grid), o.Gather(segment, one(0))));
}

/** True where a query of the joint stream may attend to a key, [length, length]; `visual` comes first. */
function visibility(joint: Value, visual: Value, mode: Exclude<MaskMode, 'full'>): Value {
  const image = o.elementCount(visual, [1]);
  const index = positions(joint);
  const [query, key] = [o.Unsqueeze(index, [1]), o.Unsqueeze(index, [0])];
  const isImage = (position: Value): Value => o.Less(position, image);
  const isPast = o.Not(o.Greater(key, query));
  const textAttends = o.And(o.Not(isImage(query)), isPast);
  const causal = o.Or(isImage(key), textAttends);
  return mode === 'sequence-to-sequence' ? causal : o.Or(causal, isImage(query));
}

/**
 * The joint stream `[CLS] image [SEP] text [SEP]` through BERT's layers, after the label variants'
 * cross-attention V <- V + CrossAttention(V, L). Gives hidden states [batch, image + 2 + text, hidden]
 * and the bias that masks padded text in cross-attention to them, [batch, 1, 1, image + 2 + text].
 */
export function fusionEncoder(
  scope: Scope,
  inputs: FusionInputs,
  config: FusionConfig,
  { labelAttention, maskMode = 'full', training }: FusionOptions,
): { hidden: Value; memoryBias: Value } {
  const drop = new Dropouts(training);
  const ones = o.Add(o.Mul(inputs.textIds, 0), 1);
  const text = bertEmbed(scope, inputs.textIds, ones, config);
  let image = embedImage(scope, inputs, config);
  if (labelAttention) {
    const labelBias = o.Unsqueeze(maskBias(inputs.textMask), [1, 2]);
    for (let i = 0; i < config.labelLayers; i++) {
      const layer = scope.scope(`label_attention.layer.${i}`);
      image = o.Add(image, bertAttention(layer, image, text, config, labelBias, drop));
    }
  }
  const cls = special(scope, config.cls, image, config);
  const sep = special(scope, config.sep, image, config);
  const visual = o.Concat([cls, image, sep], 1);
  const joint = drop.apply(o.Concat([visual, text], 1));

  const visible = o.Concat([onesLike(visual), o.Cast(inputs.textMask, 'float32')], 1);
  const memoryBias = o.Unsqueeze(maskBias(visible), [1, 2]);
  const bias =
    maskMode === 'full'
      ? memoryBias
      : o.Add(
          memoryBias,
          o.Where(visibility(joint, visual, maskMode), scalar(0, 'float32'), -30000),
        );
  return { hidden: bertLayers(scope, joint, config, bias, drop), memoryBias };
}

/** Ones [batch, length] for `x` [batch, length, ...]. */
const onesLike = (x: Value): Value =>
  o.ExpandLike(scalar(1, 'float32'), o.Squeeze(o.Slice(x, [0], [1], [2]), [2]));
