import { o } from '../graph/build.ts';
import { batchNormTraining, linear } from '../graph/functions.ts';
import type { Value } from '../graph/value.ts';
import type { Training } from './mode.ts';
import { type Initializer, type Scope, ones, zeros } from './parameters.ts';

/** `{name}.weight` [outputs, inputs] and `{name}.bias`, as torch.nn.Linear. */
export function dense(
  scope: Scope,
  name: string,
  x: Value,
  outputs: number,
  initializer: Initializer,
  biasInitializer: Initializer | null = zeros,
): Value {
  const layer = scope.scope(name);
  const inputs = Number(x.shape.at(-1));
  const weight = layer.parameter('weight', [outputs, inputs], initializer);
  return linear(
    x,
    weight,
    biasInitializer ? layer.parameter('bias', [outputs], biasInitializer) : undefined,
  );
}

/** `{name}.weight` and `{name}.bias` over the last axis, as torch.nn.LayerNorm. */
export function layerNorm(scope: Scope, name: string, x: Value, epsilon: number): Value {
  const layer = scope.scope(name);
  const size = Number(x.shape.at(-1));
  return o.LayerNormalization(
    x,
    layer.parameter('weight', [size], ones),
    layer.parameter('bias', [size], zeros),
    epsilon,
  );
}

/** Convolution without bias, kernel k x k, as torch.nn.Conv2d. */
export function convolution(
  scope: Scope,
  name: string,
  x: Value,
  outputs: number,
  {
    kernel,
    stride = 1,
    padding = 0,
    initializer,
  }: {
    kernel: number;
    stride?: number;
    padding?: number;
    initializer: (fanIn: number, fanOut: number) => Initializer;
  },
): Value {
  const inputs = Number(x.shape[1]);
  const area = kernel * kernel;
  const shape = [outputs, inputs, kernel, kernel];
  const start = initializer(inputs * area, outputs * area);
  return o.Conv(x, scope.scope(name).parameter('weight', shape, start), undefined, {
    strides: [stride, stride],
    pads: [padding, padding, padding, padding],
  });
}

/** `{name}.{weight,bias,running_mean,running_var}`, as torch.nn.BatchNorm2d. */
export function batchNorm(scope: Scope, name: string, x: Value, training?: Training): Value {
  const layer = scope.scope(name);
  const channels = [Number(x.shape[1])];
  const scale = layer.parameter('weight', channels, ones);
  const bias = layer.parameter('bias', channels, zeros);
  const runningMean = layer.buffer('running_mean', channels, zeros);
  const runningVariance = layer.buffer('running_var', channels, ones);
  if (!training?.buffers) return o.BatchNormalization(x, scale, bias, runningMean, runningVariance);
  const result = batchNormTraining(x, { scale, bias, runningMean, runningVariance });
  training.buffers
    .set(runningMean, result.runningMean)
    .set(runningVariance, result.runningVariance);
  return result.y;
}

/** [batch, length, heads * size] -> [batch, heads, length, size] */
export function splitHeads(x: Value, heads: number): Value {
  const [batch = 1, length = 1, width = 1] = x.shape;
  return o.Transpose(o.Reshape(x, [batch, length, heads, Number(width) / heads]), [0, 2, 1, 3]);
}

/**
 * Scaled dot-product attention (Vaswani et al. 2017) over split heads; `bias` is added to the scores
 * and broadcasts to [batch, heads, queries, keys]. Gives [batch, queries, heads * size].
 */
export function attend(
  query: Value,
  key: Value,
  value: Value,
  {
    scale,
    bias,
    dropProbabilities,
  }: {
    scale?: number;
    bias?: Value | undefined;
    dropProbabilities?: (probabilities: Value) => Value;
  } = {},
): Value {
  const scaled = scale === undefined ? query : o.Mul(query, scale);
  const scores = o.MatMul(scaled, o.Transpose(key, [0, 1, 3, 2]));
  const probabilities = o.Softmax(bias ? o.Add(scores, bias) : scores);
  const mixed = o.MatMul(
    dropProbabilities ? dropProbabilities(probabilities) : probabilities,
    value,
  );
  const [batch = 1, heads = 1, queries = 1, size = 1] = mixed.shape;
  const joined = o.Transpose(mixed, [0, 2, 1, 3]);
  return o.Reshape(joined, [batch, queries, Number(heads) * Number(size)]);
}

/**
 * What a mask adds to attention scores: 0 where `mask` is 1, a number that softmax turns into exactly 0
 * where it is 0. It must survive float16, whose range ends at 65504.
 */
export const maskBias = (mask: Value): Value => o.Mul(o.Sub(1, o.Cast(mask, 'float32')), -30000);

/** Learned rows for positions 0 .. length-1, [length, width], where `x` is [batch, length, ...]. */
export const positionRows = (table: Value, x: Value): Value => o.Gather(table, positions(x));

/** int64 0 .. length-1 for `x` [batch, length, ...]. */
export function positions(x: Value): Value {
  const length = o.elementCount(x, [1]);
  return o.Range(asScalar(0), asScalar(length), x.shape[1] ?? 1);
}

const asScalar = (value: Value | number): Value =>
  typeof value === 'number' ? o.full([], value, 'int64') : value;
