import { o } from '../graph/build.ts';
import { addDims } from '../graph/dim.ts';
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

const epsilon = 1e-6;

/**
 * The bucket of each distance back, 0 .. maxDistance: half of the buckets are exact, the others grow
 * logarithmically (Raffel et al. 2020, the unidirectional case of relative_position_bucket).
 */
export function distanceBuckets({
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
function relativeBias(scope: Scope, distances: Value, config: T5Config): Value {
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
  rmsNorm(x, scope.scope(name).parameter('weight', [Number(x.shape.at(-1))], ones), epsilon);

const inner = ({ heads, dKv }: T5Config): number => heads * dKv;
const memoryStart = ({ dModel }: T5Config): Initializer => normal(dModel ** -0.5);

/** Keys and values of `x` [batch, length, dModel] for the attention in `scope`. */
const keyValue = (scope: Scope, x: Value, config: T5Config): KeyValue => {
  const split = (name: string): Value =>
    splitHeads(project(scope, name, x, inner(config), memoryStart(config)), config.heads);
  return { key: split('k'), value: split('v') };
};

/** Attention of `x` [batch, length, dModel] to keys and values; T5 does not scale its scores. */
function attention(
  scope: Scope,
  x: Value,
  { key, value }: KeyValue,
  bias: Value | undefined,
  config: T5Config,
  drop: Dropouts,
): Value {
  const queryStart = normal((config.dModel * config.dKv) ** -0.5);
  const query = splitHeads(project(scope, 'q', x, inner(config), queryStart), config.heads);
  const mixed = attend(query, key, value, { bias, dropProbabilities: (p) => drop.apply(p) });
  return drop.apply(project(scope, 'o', mixed, config.dModel, normal(inner(config) ** -0.5)));
}

interface BlockInputs {
  readonly selfBias: Value;
  readonly cross: KeyValue;
  readonly crossBias: Value | undefined;
  /** Keys and values of the tokens before `x`, if it continues a sequence. */
  readonly past?: KeyValue | undefined;
}

function block(
  scope: Scope,
  x: Value,
  { selfBias, cross, crossBias, past }: BlockInputs,
  config: T5Config,
  drop: Dropouts,
): { x: Value; present: KeyValue } {
  const selfScope = scope.scope('layer.0.SelfAttention');
  const normed = norm(scope, 'layer.0.layer_norm', x);
  const fresh = keyValue(selfScope, normed, config);
  const present = past
    ? { key: o.Concat([past.key, fresh.key], 2), value: o.Concat([past.value, fresh.value], 2) }
    : fresh;
  const own = o.Add(x, attention(selfScope, normed, present, selfBias, config, drop));
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
  const wide = o.Relu(
    project(
      feed,
      'DenseReluDense.wi',
      norm(feed, 'layer_norm', informed),
      config.dFf,
      memoryStart(config),
    ),
  );
  const narrow = project(
    feed,
    'DenseReluDense.wo',
    drop.apply(wide),
    config.dModel,
    normal(config.dFf ** -0.5),
  );
  return { x: o.Add(informed, drop.apply(narrow)), present };
}

const embeddingTable = (scope: Scope, { vocabulary, dModel }: T5Config): Value =>
  scope.parameter('shared.weight', [vocabulary, dModel], normal(1));

/** Hidden states to logits over the vocabulary through the tied, scaled embedding. */
function logitsOf(scope: Scope, hidden: Value, config: T5Config, drop: Dropouts): Value {
  const normed = drop.apply(norm(scope, 'decoder.final_layer_norm', hidden));
  return linear(o.Mul(normed, config.dModel ** -0.5), embeddingTable(scope, config));
}

const blockScope = (scope: Scope, index: number): Scope => scope.scope(`decoder.block.${index}`);

/** Cross-attention keys and values of every layer, which depend on the encoder only. */
export const crossKeyValues = (scope: Scope, memory: Value, config: T5Config): KeyValue[] =>
  Array.from({ length: config.layers }, (_, i) =>
    keyValue(blockScope(scope, i).scope('layer.1.EncDecAttention'), memory, config),
  );

/**
 * The whole sequence at once, as training sees it: ids [batch, length] int64, encoder output
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
    x = block(
      blockScope(scope, i),
      x,
      { selfBias, cross, crossBias: memoryBias, past: undefined },
      config,
      drop,
    ).x;
  });
  return logitsOf(scope, x, config, drop);
}

export interface StepInputs {
  /** The last token of each row, [rows, 1] int64. */
  readonly ids: Value;
  /** Tokens each row has in the cache, [rows] int64; caches are aligned at their end. */
  readonly lengths: Value;
  /** Per layer [rows, heads, past, dKv]. */
  readonly past: readonly KeyValue[];
  readonly cross: readonly KeyValue[];
  readonly crossBias: Value | undefined;
}

/**
 * One token further for every row. Rows of different lengths share a cache that is aligned at its end:
 * the distance from the new token to a slot is then the same in every row, and a row that joins late
 * only has more empty slots, which `lengths` masks. Gives logits [rows, vocabulary] and the new cache.
 */
export function t5Step(
  scope: Scope,
  { ids, lengths, past, cross, crossBias }: StepInputs,
  config: T5Config,
): { logits: Value; present: KeyValue[] } {
  const drop = new Dropouts(undefined);
  const [firstPast] = past;
  if (!firstPast) throw new RangeError('a decoder has at least one layer');
  const size = firstPast.key.shape[2] ?? 0;
  const pastLength = o.Gather(o.Shape(firstPast.key), scalar(2, 'int64'));
  const slots = o.Range(scalar(0, 'int64'), o.Add(pastLength, 1), addDims(size, 1));
  const distances = o.Sub(pastLength, slots);
  // A slot is a row's own if it lies no further back than the row is long.
  const outside = o.Greater(o.Unsqueeze(distances, [0]), o.Unsqueeze(lengths, [1]));
  const empty = o.Unsqueeze(o.Where(outside, scalar(-30000, 'float32'), 0), [1, 2]);
  const selfBias = o.Add(o.Unsqueeze(relativeBias(scope, distances, config), [0, 2]), empty);
  let x = o.Gather(embeddingTable(scope, config), ids);
  const present = cross.map((memory, i) => {
    const inputs = { selfBias, cross: memory, crossBias, past: past[i] };
    const result = block(blockScope(scope, i), x, inputs, config, drop);
    x = result.x;
    return result.present;
  });
  return { logits: o.Squeeze(logitsOf(scope, x, config, drop), [1]), present };
}
