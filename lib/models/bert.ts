import { o } from '../graph/build.ts';
import type { Value } from '../graph/value.ts';
import { attend, dense, layerNorm, positionRows, splitHeads } from './layers.ts';
import type { Dropouts } from './mode.ts';
import { type Scope, normal } from './parameters.ts';

export interface BertConfig {
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly intermediate: number;
  readonly vocabulary: number;
  readonly positions: number;
}

const bertEpsilon = 1e-12;
export const bertStart = normal(0.02);
const paddedEmbedding = { ...bertStart, zeroRow: 0 } as const;

/** The three embedding tables of BERT, and the LayerNorm they share. */
export function bertTables(
  scope: Scope,
  config: BertConfig,
): { word: Value; position: Value; segment: Value } {
  const embeddings = scope.scope('embeddings');
  const { hidden } = config;
  return {
    word: embeddings.parameter(
      'word_embeddings.weight',
      [config.vocabulary, hidden],
      paddedEmbedding,
    ),
    position: embeddings.parameter(
      'position_embeddings.weight',
      [config.positions, hidden],
      bertStart,
    ),
    segment: embeddings.parameter('token_type_embeddings.weight', [2, hidden], bertStart),
  };
}

export const bertEmbeddingNorm = (scope: Scope, x: Value): Value =>
  layerNorm(scope, 'embeddings.LayerNorm', x, bertEpsilon);

/** ids and segments [batch, length] int64 -> embeddings [batch, length, hidden]; positions from 0. */
export function bertEmbed(scope: Scope, ids: Value, segments: Value, config: BertConfig): Value {
  const { word, position, segment } = bertTables(scope, config);
  const sum = o.Add(
    o.Add(o.Gather(word, ids), o.Gather(segment, segments)),
    positionRows(position, ids),
  );
  return bertEmbeddingNorm(scope, sum);
}

/** Multi-head attention of `x` to `memory`, without residual or norm. */
export function bertAttention(
  scope: Scope,
  x: Value,
  memory: Value,
  config: Pick<BertConfig, 'hidden' | 'heads'>,
  bias: Value | undefined,
  drop: Dropouts,
): Value {
  const project = (name: string, from: Value): Value =>
    splitHeads(dense(scope, `self.${name}`, from, config.hidden, bertStart), config.heads);
  const mixed = attend(project('query', x), project('key', memory), project('value', memory), {
    scale: (config.hidden / config.heads) ** -0.5,
    bias,
    dropProbabilities: (p) => drop.apply(p),
  });
  return drop.apply(dense(scope, 'output.dense', mixed, config.hidden, bertStart));
}

/**
 * The layers of BERT (Devlin et al. 2019): post-norm, erf GELU; parameters named as in Hugging Face's
 * BertModel. x [batch, length, hidden]; `bias` broadcasts to [batch, heads, length, length].
 */
export function bertLayers(
  scope: Scope,
  x: Value,
  config: BertConfig,
  bias: Value | undefined,
  drop: Dropouts,
): Value {
  let hidden = x;
  for (let i = 0; i < config.layers; i++) {
    const layer = scope.scope(`encoder.layer.${i}`);
    const attention = layer.scope('attention');
    const mixed = bertAttention(attention, hidden, hidden, config, bias, drop);
    const attended = layerNorm(attention, 'output.LayerNorm', o.Add(hidden, mixed), bertEpsilon);
    const wide = o.Gelu(
      dense(layer, 'intermediate.dense', attended, config.intermediate, bertStart),
    );
    const narrow = drop.apply(dense(layer, 'output.dense', wide, config.hidden, bertStart));
    hidden = layerNorm(layer, 'output.LayerNorm', o.Add(attended, narrow), bertEpsilon);
  }
  return hidden;
}
