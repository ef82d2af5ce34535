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

export interface ConvolutionOptions {
  readonly kernel: number;
  readonly stride?: number;
  readonly padding?: number;
  readonly initializer: (fanIn: number, fanOut: number) => Initializer;
}

function convolutionKernel(
  scope: Scope,
  name: string,
  x: Value,
  outputs: number,
  { kernel, initializer }: ConvolutionOptions,
): Value {
  const inputs = Number(x.shape[1]);
  const area = kernel * kernel;
  const start = initializer(inputs * area, outputs * area);
  return scope.scope(name).parameter('weight', [outputs, inputs, kernel, kernel], start);
}

const window = ({ stride = 1, padding = 0 }: ConvolutionOptions) =>
  ({
    strides: [stride, stride],
    pads: [padding, padding, padding, padding],
  }) as const;

/** Convolution without bias, kernel k x k, as torch.nn.Conv2d. */
export const convolution = (
  scope: Scope,
  name: string,
  x: Value,
  outputs: number,
  options: ConvolutionOptions,
): Value =>
  o.Conv(x, convolutionKernel(scope, name, x, outputs, options), undefined, window(options));

const batchNormEpsilon = 1e-5;

function normParameters(scope: Scope, name: string, channels: number) {
  const layer = scope.scope(name);
  return {
    scale: layer.parameter('weight', [channels], ones),
    bias: layer.parameter('bias', [channels], zeros),
    runningMean: layer.buffer('running_mean', [channels], zeros),
    runningVariance: layer.buffer('running_var', [channels], ones),
  };
}

/** `{name}.{weight,bias,running_mean,running_var}`, as torch.nn.BatchNorm2d. */
export function batchNorm(scope: Scope, name: string, x: Value, training?: Training): Value {
  const norm = normParameters(scope, name, Number(x.shape[1]));
  const { scale, bias, runningMean, runningVariance } = norm;
  if (!training?.buffers) {
    return o.BatchNormalization(x, scale, bias, runningMean, runningVariance, batchNormEpsilon);
  }
  const result = batchNormTraining(x, norm, { epsilon: batchNormEpsilon });
  training.buffers
    .set(runningMean, result.runningMean)
    .set(runningVariance, result.runningVariance);
  return result.y;
}

/**
 * A convolution and the batch normalization after it. With running statistics the norm is a factor and
 * an offset of the kernel: serving and training then make no pass over the image for it.
 */
export function convolutionNorm(
  scope: Scope,
  names: { readonly convolution: string; readonly norm: string },
  x: Value,
  outputs: number,
  options: ConvolutionOptions,
  training?: Training,
): Value {
  if (training?.buffers) {
    const y = convolution(scope, names.convolution, x, outputs, options);
    return batchNorm(scope, names.norm, y, training);
  }
  const kernel = convolutionKernel(scope, names.convolution, x, outputs, options);
  const { scale, bias, runningMean, runningVariance } = normParameters(scope, names.norm, outputs);
  const factor = o.Mul(scale, o.Reciprocal(o.Sqrt(o.Add(runningVariance, batchNormEpsilon))));
  const offset = o.Sub(bias, o.Mul(runningMean, factor));
  return o.Conv(x, o.Mul(kernel, o.Unsqueeze(factor, [1, 2, 3])), offset, window(options));
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
export const maskBias = (mask: Value): Value => o.Mul(o.Sub(o.Cast(mask, 'float32'), 1), 30000);

/** Learned rows for positions 0 .. length-1, [length, width], where `x` is [batch, length, ...]. */
export const positionRows = (table: Value, x: Value): Value => o.Gather(table, positions(x));

/** int64 0 .. length-1 for `x` [batch, length, ...]. */
export function positions(x: Value): Value {
  const length = o.elementCount(x, [1]);
  return o.Range(asScalar(0), asScalar(length), x.shape[1] ?? 1);
}

const asScalar = (value: Value | number): Value =>
  typeof value === 'number' ? o.full([], value, 'int64') : value;
