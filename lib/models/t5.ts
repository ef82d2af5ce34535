import { o } from '../graph/build.ts';
import { linear, rmsNorm } from '../graph/functions.ts';
import { type Value, constantOf, scalar } from '../graph/value.ts';
import { attend, positions, splitHeads } from './layers.ts';
import { Dropouts, type Training } from './mode.ts';
import { type Initializer, type Scope, normal, ones } from './parameters.ts';

export interface T5Config {
  readonly dModel: number;
  readonly dKv: number;
  readonly heads: number;
  readonly dFf: number;
  readonly layers: number;
  readonly vocabulary: number;
  /** Relative position buckets, and the distance from which all share the last one. */
  readonly buckets: number;
  readonly maxDistance: number;
}

/** Keys and values of one layer, [batch, heads, length, dKv] each. */
export interface KeyValue {
  readonly key: Value;
  readonly value: Value;
}

export const normEpsilon = 1e-6;

/**
 * The bucket of each distance to an earlier token, 0 .. maxDistance: half of the buckets are exact, the others grow
 * logarithmically (Raffel et al. 2020, the unidirectional case of relative_position_bucket).
 */
function distanceBuckets({
  buckets,
  maxDistance,
}: Pick<T5Config, 'buckets' | 'maxDistance'>): number[] {
  const exact = Math.floor(buckets / 2);
  return Array.from({ length: maxDistance + 1 }, (_, distance) => {
    if (distance < exact) return distance;
    const share = Math.log(distance / exact) / Math.log(maxDistance / exact);
    return Math.min(exact + Math.floor(share * (buckets - exact)), buckets - 1);
  });
}

/** Scores that relative positions add, from distances back [...]: [heads, ...]. */
export function relativeBias(scope: Scope, distances: Value, config: T5Config): Value {
  const table = scope
    .scope('decoder.block.0.layer.0.SelfAttention')
    .parameter(
      'relative_attention_bias.weight',
      [config.buckets, config.heads],
      normal(config.dModel ** -0.5),
    );
  const clamped = o.Min(o.Max(distances, 0), config.maxDistance);
  const bucket = o.Gather(constantOf(distanceBuckets(config), 'int64'), clamped);
  const rank = distances.shape.length;
  const headsFirst = [rank, ...Array.from({ length: rank }, (_, axis) => axis)];
  return o.Transpose(o.Gather(table, bucket), headsFirst);
}

/** A linear map without bias. */
const project = (
  scope: Scope,
  name: string,
  x: Value,
  outputs: number,
  start: Initializer,
): Value =>
  linear(x, scope.scope(name).parameter('weight', [outputs, Number(x.shape.at(-1))], start));

const norm = (scope: Scope, name: string, x: Value): Value =>
  rmsNorm(x, scope.scope(name).parameter('weight', [Number(x.shape.at(-1))], ones), normEpsilon);

const inner = ({ heads, dKv }: T5Config): number => heads * dKv;
const memoryStart = ({ dModel }: T5Config): Initializer => normal(dModel ** -0.5);

/** The linear maps of an attention, x [..., dModel] to or from [..., heads * dKv]. */
export const queryOf = (scope: Scope, x: Value, config: T5Config): Value =>
  project(scope, 'q', x, inner(config), normal((config.dModel * config.dKv) ** -0.5));
export const keyOf = (scope: Scope, x: Value, config: T5Config): Value =>
  project(scope, 'k', x, inner(config), memoryStart(config));
export const valueOf = (scope: Scope, x: Value, config: T5Config): Value =>
  project(scope, 'v', x, inner(config), memoryStart(config));
export const attentionOutput = (scope: Scope, x: Value, config: T5Config): Value =>
  project(scope, 'o', x, config.dModel, normal(inner(config) ** -0.5));

/** Keys and values of `x` [batch, length, dModel] for the attention in `scope`. */
const keyValue = (scope: Scope, x: Value, config: T5Config): KeyValue => ({
  key: splitHeads(keyOf(scope, x, config), config.heads),
  value: splitHeads(valueOf(scope, x, config), config.heads),
});

/** Attention of `x` [batch, length, dModel] to keys and values; T5 does not scale its scores. */
function attention(
  scope: Scope,
  x: Value,
  { key, value }: KeyValue,
  bias: Value | undefined,
  config: T5Config,
  drop: Dropouts,
): Value {
  const query = splitHeads(queryOf(scope, x, config), config.heads);
  const mixed = attend(query, key, value, { bias, dropProbabilities: (p) => drop.apply(p) });
  return drop.apply(attentionOutput(scope, mixed, config));
}

interface BlockInputs {
  readonly selfBias: Value;
  readonly cross: KeyValue;
  readonly crossBias: Value | undefined;
}

function block(
  scope: Scope,
  x: Value,
  { selfBias, cross, crossBias }: BlockInputs,
  config: T5Config,
  drop: Dropouts,
): Value {
  const selfScope = scope.scope('layer.0.SelfAttention');
  const normed = norm(scope, 'layer.0.layer_norm', x);
  const self = keyValue(selfScope, normed, config);
  const own = o.Add(x, attention(selfScope, normed, self, selfBias, config, drop));
  const crossScope = scope.scope('layer.1.EncDecAttention');
  const read = attention(
    crossScope,
    norm(scope, 'layer.1.layer_norm', own),
    cross,
    crossBias,
    config,
    drop,
  );
  const informed = o.Add(own, read);
  const feed = scope.scope('layer.2');
  const normedLast = norm(feed, 'layer_norm', informed);
  return o.Add(informed, feedForward(feed, normedLast, config, drop));
}

/** The two linear maps at the end of a block, of its normalized [..., dModel]. */
export function feedForward(scope: Scope, normed: Value, config: T5Config, drop: Dropouts): Value {
  const wide = o.Relu(project(scope, 'DenseReluDense.wi', normed, config.dFf, memoryStart(config)));
  const narrowStart = normal(config.dFf ** -0.5);
  const narrow = project(scope, 'DenseReluDense.wo', drop.apply(wide), config.dModel, narrowStart);
  return drop.apply(narrow);
}

export const embeddingTable = (scope: Scope, { vocabulary, dModel }: T5Config): Value =>
  scope.parameter('shared.weight', [vocabulary, dModel], normal(1));

/** Hidden states to logits over the vocabulary through the tied, scaled embedding. */
function logitsOf(scope: Scope, hidden: Value, config: T5Config, drop: Dropouts): Value {
  const normed = drop.apply(norm(scope, 'decoder.final_layer_norm', hidden));
  return linear(o.Mul(normed, config.dModel ** -0.5), embeddingTable(scope, config));
}

export const blockScope = (scope: Scope, index: number): Scope =>
  scope.scope(`decoder.block.${index}`);

/** Cross-attention keys and values of every layer, which depend on the encoder only. */
export const crossKeyValues = (scope: Scope, memory: Value, config: T5Config): KeyValue[] =>
  Array.from({ length: config.layers }, (_, i) =>
    keyValue(blockScope(scope, i).scope('layer.1.EncDecAttention'), memory, config),
  );

/**
 * The whole sequence at once, as in training: ids [batch, length] int64, encoder output
 * [batch, memory, dModel] -> logits [batch, length, vocabulary]. Parameters named as in Hugging Face's
 * T5ForConditionalGeneration.
 */
export function t5Decoder(
  scope: Scope,
  ids: Value,
  memory: Value,
  memoryBias: Value | undefined,
  config: T5Config,
  training?: Training,
): Value {
  const drop = new Dropouts(training);
  const position = positions(ids);
  const distances = o.Sub(o.Unsqueeze(position, [1]), o.Unsqueeze(position, [0]));
  const future = o.Where(o.Less(distances, 0), scalar(-30000, 'float32'), 0);
  const selfBias = o.Unsqueeze(o.Add(relativeBias(scope, distances, config), future), [0]);
  let x = drop.apply(o.Gather(embeddingTable(scope, config), ids));
  crossKeyValues(scope, memory, config).forEach((cross, i) => {
    x = block(blockScope(scope, i), x, { selfBias, cross, crossBias: memoryBias }, config, drop);
  });
  return logitsOf(scope, x, config, drop);
}
