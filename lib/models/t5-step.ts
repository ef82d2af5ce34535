import { o } from '../graph/build.ts';
import { addDims, multiplyDims } from '../graph/dim.ts';
import { type Graph, type Value, constantOf, input, scalar } from '../graph/value.ts';
import { linear } from '../graph/functions.ts';
import { Dropouts } from './mode.ts';
import { type Scope, ones } from './parameters.ts';
import {
  type KeyValue,
  type T5Config,
  attentionOutput,
  blockScope,
  crossKeyValues,
  embeddingTable,
  feedForward,
  keyOf,
  normEpsilon,
  queryOf,
  relativeBias,
  valueOf,
} from './t5.ts';

/**
 * The cache of self-attention is in two parts. `recent` holds the last few tokens and is rewritten by
 * every step; `settled` holds those before and is only read, so that a step does not copy it. Both are
 * aligned at their end: the distance from the new token to a slot is then the same in every row, and a
 * row that joins late only has more empty slots, which `lengths` masks.
 *
 * Cross-attention is stored once per group, the rows (beams) of one request.
 */
interface StepInputs {
  /** The last token of each row, [rows] int64. */
  readonly ids: Value;
  /** Tokens each row has in the cache, [rows] int64. */
  readonly lengths: Value;
  /** The row of `recent` that each row continues, [rows] int64. */
  readonly rows: Value;
  /** The rows of each group, [groups, width] int64; a group of fewer rows repeats any. */
  readonly members: Value;
  /** Where each row is in `members`, flat, [rows] int64. */
  readonly places: Value;
  /** Per layer [rows, heads, settled, dKv], at least one slot. */
  readonly settled: readonly KeyValue[];
  /** Keys and values of every layer by turns, [2 * layers, recentRows, heads, recent, dKv]. */
  readonly recent: Value;
  /** Per layer: keys [groups, heads, dKv, memory], as they are multiplied, and values [.., memory, dKv]. */
  readonly cross: readonly KeyValue[];
  /** The bias that masks padding in cross-attention, [groups, 1, 1, memory]. */
  readonly memoryBias: Value;
}

interface StepOutputs {
  /** [rows, vocabulary] */
  readonly logits: Value;
  /** log(sum(exp(logits))), [rows]: a logit less this is a log-probability. */
  readonly normalizers: Value;
  /** [2 * layers, rows, heads, recent + 1, dKv] */
  readonly recent: Value;
}

const sizeAt = (x: Value, axis: number): Value => o.Gather(o.Shape(x), scalar(axis, 'int64'));

/** The bias of relative positions, which also masks empty slots, [rows, heads, 1, slots]. */
function selfBiasOf(
  scope: Scope,
  { lengths, recent }: StepInputs,
  settledSize: Value,
  slotDim: Value['shape'][number],
  config: T5Config,
): Value {
  const before = o.Add(settledSize, sizeAt(recent, 3));
  const slots = o.Range(scalar(0, 'int64'), o.Add(before, 1), slotDim);
  const distances = o.Sub(before, slots);
  // A slot is a row's own if it lies no further back than the row is long.
  const outside = o.Greater(o.Unsqueeze(distances, [0]), o.Unsqueeze(lengths, [1]));
  const empty = o.Unsqueeze(o.Where(outside, scalar(-30000, 'float32'), 0), [1, 2]);
  return o.Add(o.Unsqueeze(relativeBias(scope, distances, config), [0, 2]), empty);
}

/**
 * Attention over both parts of the cache; query and fresh tokens have a leading axis of 1, as their
 * part of `recent` has. `cut` is the two sizes, [2]. The probabilities are split again, because joining
 * the keys would copy them.
 */
function attendBoth(
  query: Value,
  settled: KeyValue,
  fresh: KeyValue,
  bias: Value,
  cut: Value,
): Value {
  const scores = [
    o.MatMul(query, o.Transpose(settled.key, [0, 1, 3, 2])),
    o.MatMul(query, o.Transpose(fresh.key, [0, 1, 2, 4, 3])),
  ];
  const probabilities = o.Softmax(o.Add(o.Concat(scores, 4), bias));
  const sizes = [settled.key.shape[2] ?? 0, fresh.key.shape[3] ?? 0] as const;
  const [old, near] = o.Split(probabilities, cut, sizes, 4);
  return o.Add(o.MatMul(old, settled.value), o.MatMul(near, fresh.value));
}

/** Indices that gather the heads of rows by group, and back; the same in every layer. */
interface Grouping {
  /** Into [rows * heads, dKv], the queries of each group's heads: [groups, heads, width]. */
  readonly heads: Value;
  /** Into [groups * heads * width, dKv], the results of each row's heads: [rows, heads]. */
  readonly found: Value;
}

function groupingOf({ members, places }: StepInputs, heads: number): Grouping {
  const width = sizeAt(members, 1);
  const head = constantOf(
    Array.from({ length: heads }, (_, i) => i),
    'int64',
  );
  const group = o.Div(places, width);
  const first = o.Add(o.Mul(group, o.Mul(width, heads)), o.Sub(places, o.Mul(group, width)));
  return {
    heads: o.Add(o.Unsqueeze(o.Mul(members, heads), [1]), o.Unsqueeze(head, [1])),
    found: o.Add(o.Unsqueeze(first, [1]), o.Mul(head, width)),
  };
}

/** The rows of a group query its memory together; x [rows, dModel]. */
function crossAttention(
  scope: Scope,
  x: Value,
  { key, value }: KeyValue,
  bias: Value,
  grouping: Grouping,
  config: T5Config,
): Value {
  const { heads, dKv } = config;
  const rows = x.shape[0] ?? 1;
  const perHead = o.Reshape(queryOf(scope, x, config), [multiplyDims(rows, heads), dKv]);
  const query = o.Gather(perHead, grouping.heads);
  const probabilities = o.Softmax(o.Add(o.MatMul(query, key), bias));
  const mixed = o.flattenTo(o.MatMul(probabilities, value), 2);
  const found = o.Reshape(o.Gather(mixed, grouping.found), [rows, heads * dKv]);
  return attentionOutput(scope, found, config);
}

/** `norm` of t5.ts as ONNX Runtime recognizes it: one kernel instead of seven. */
function norm(scope: Scope, name: string, x: Value): Value {
  const weight = scope.scope(name).parameter('weight', [Number(x.shape.at(-1))], ones);
  const meanSquare = o.ReduceMean(o.Pow(x, 2), [x.shape.length - 1], true);
  return o.Mul(o.Div(x, o.Sqrt(o.Add(meanSquare, normEpsilon))), weight);
}

/** ONNX Runtime reads a layer of 32,000 outputs at a third of the speed of sixteen smaller ones. */
const headRows = 2048;

/** `logitsOf` t5.ts for hidden states [rows, dModel], the vocabulary in parts. */
function logitsInParts(scope: Scope, x: Value, config: T5Config): Value {
  const normed = norm(scope, 'decoder.final_layer_norm', x);
  const scaled = o.Mul(normed, config.dModel ** -0.5);
  const table = embeddingTable(scope, config);
  const parts = Math.ceil(config.vocabulary / headRows);
  const size = Math.ceil(config.vocabulary / parts);
  const logits = Array.from({ length: parts }, (_, i) => {
    const end = Math.min((i + 1) * size, config.vocabulary);
    const rows = parts === 1 ? table : o.Slice(table, [i * size], [end], [0]);
    return linear(scaled, rows);
  });
  return parts === 1 ? (logits[0] as Value) : o.Concat(logits, 1);
}

/** The next token of every row. */
function t5Step(scope: Scope, inputs: StepInputs, config: T5Config): StepOutputs {
  const { ids, rows, settled, cross } = inputs;
  const { heads, dKv } = config;
  const first = settled[0]?.key;
  if (!first) throw new RangeError('a decoder has at least one layer');
  const drop = new Dropouts(undefined);
  const size = ids.shape[0] ?? 1;
  const perHead = (value: Value): Value => o.Reshape(value, [1, size, heads, 1, dKv]);
  const settledSize = sizeAt(first, 2);
  const freshSize = o.Add(sizeAt(inputs.recent, 3), 1);
  const cut = o.Concat([o.Unsqueeze(settledSize, [0]), o.Unsqueeze(freshSize, [0])], 0);
  const slotDim = addDims(addDims(first.shape[2] ?? 0, inputs.recent.shape[3] ?? 0), 1);
  const bias = selfBiasOf(scope, inputs, settledSize, slotDim, config);
  const grouping = groupingOf(inputs, heads);
  const continued = o.Gather(inputs.recent, rows, 1);
  const pastOf = (index: number): Value => o.Slice(continued, [index], [index + 1], [0]);
  const recent: Value[] = [];
  let x = o.Gather(embeddingTable(scope, config), ids);
  settled.forEach((old, i) => {
    const layer = blockScope(scope, i);
    const self = layer.scope('layer.0.SelfAttention');
    const normed = norm(layer, 'layer.0.layer_norm', x);
    const [key, value] = [keyOf(self, normed, config), valueOf(self, normed, config)].map(
      (one, k) => o.Concat([pastOf(2 * i + k), perHead(one)], 3),
    );
    const memory = cross[i];
    if (!key || !value || !memory) throw new RangeError(`layer ${i} has no cross-attention`);
    recent.push(key, value);
    const query = perHead(queryOf(self, normed, config));
    const mixed = attendBoth(query, old, { key, value }, bias, cut);
    x = o.Add(x, attentionOutput(self, o.Reshape(mixed, [size, heads * dKv]), config));
    const crossNormed = norm(layer, 'layer.1.layer_norm', x);
    const crossScope = layer.scope('layer.1.EncDecAttention');
    const { memoryBias } = inputs;
    x = o.Add(x, crossAttention(crossScope, crossNormed, memory, memoryBias, grouping, config));
    const feed = layer.scope('layer.2');
    x = o.Add(x, feedForward(feed, norm(feed, 'layer_norm', x), config, drop));
  });
  const logits = logitsInParts(scope, x, config);
  const highest = o.ReduceMax(logits, [1], true);
  const sum = o.ReduceSum(o.Exp(o.Sub(logits, highest)), [1]);
  return {
    logits,
    normalizers: o.Add(o.Log(sum), o.Squeeze(highest, [1])),
    recent: o.Concat(recent, 0),
  };
}

/** `{part}.{layer}.key` and `.value` of every layer, named as the encoder's outputs are. */
function layerInputs(
  part: string,
  layers: number,
  keyShape: Value['shape'],
  valueShape = keyShape,
): { readonly leaves: readonly Value[]; readonly pairs: readonly KeyValue[] } {
  const pairs = Array.from({ length: layers }, (_, i) => ({
    key: input(`${part}.${i}.key`, 'float32', keyShape),
    value: input(`${part}.${i}.value`, 'float32', valueShape),
  }));
  return { leaves: pairs.flatMap(({ key, value }) => [key, value]), pairs };
}

/** The cross-attention keys and values of every layer, named as the decoder's inputs: the encoder of a release computes them. */
export const servedMemory = (
  scope: Scope,
  memory: Value,
  config: T5Config,
): Readonly<Record<string, Value>> =>
  Object.fromEntries(
    crossKeyValues(scope, memory, config).flatMap(({ key, value }, i) => [
      [`cross.${i}.key`, o.Transpose(key, [0, 1, 3, 2])],
      [`cross.${i}.value`, value],
    ]),
  );

/**
 * The decoder as it is served: one step of the running batch. Inputs and outputs are named as in
 * StepInputs and StepOutputs, caches `settled.{layer}.key` and so on, the new cache `nextRecent`.
 * lib/runtime/decode moves rows between steps.
 */
export function decoderStepGraph(scope: Scope, config: T5Config): Graph {
  const { layers, heads, dKv } = config;
  const settled = layerInputs('settled', layers, ['rows', heads, 'settled', dKv]);
  const cross = layerInputs(
    'cross',
    layers,
    ['groups', heads, dKv, 'memory'],
    ['groups', heads, 'memory', dKv],
  );
  const inputs: StepInputs = {
    ids: input('ids', 'int64', ['rows']),
    lengths: input('lengths', 'int64', ['rows']),
    rows: input('rows', 'int64', ['rows']),
    members: input('members', 'int64', ['groups', 'width']),
    places: input('places', 'int64', ['rows']),
    settled: settled.pairs,
    recent: input('recent', 'float32', [2 * layers, 'recentRows', heads, 'recent', dKv]),
    cross: cross.pairs,
    memoryBias: input('memoryBias', 'float32', ['groups', 1, 1, 'memory']),
  };
  const { logits, normalizers, recent } = t5Step(scope, inputs, config);
  const { ids, lengths, rows, members, places, memoryBias } = inputs;
  return {
    inputs: [
      ids,
      lengths,
      rows,
      members,
      places,
      memoryBias,
      inputs.recent,
      ...settled.leaves,
      ...cross.leaves,
    ],
    outputs: [
      { name: 'logits', value: logits },
      { name: 'normalizers', value: normalizers },
      { name: 'nextRecent', value: recent },
    ],
  };
}
