import { o } from './build.ts';
import { type Dim, sizeOf } from './dim.ts';
import { GraphError, type Value, scalar } from './value.ts';

/** x [..., in] by a weight stored as checkpoints store it, [out, in], and a bias [out]: [..., out]. */
export function linear(x: Value, weight: Value, bias?: Value): Value {
  const product = o.Gemm(
    o.flattenTo(x, 2),
    weight,
    bias ? { transB: true, bias } : { transB: true },
  );
  const shape = [...x.shape.slice(0, -1), weight.shape[0] ?? 1];
  if (x.shape.length === 2) return product;
  // Rows come back by the input's own leading dimensions; with two symbols they are read at run time.
  return o.splitRows(product, x, shape);
}

/** Root-mean-square normalization over the last axis (Zhang & Sennrich 2019), as T5 uses it. */
export function rmsNorm(x: Value, weight: Value, epsilon: number): Value {
  const last = [x.shape.length - 1];
  const meanSquare = o.Div(o.ReduceSumSquare(x, last, true), o.sizeAlong(x, last));
  return o.Mul(o.Mul(x, o.Reciprocal(o.Sqrt(o.Add(meanSquare, epsilon)))), weight);
}

/**
 * Batch normalization with the batch's own statistics, x [N,C,H,W]. Also gives the running statistics
 * after this batch, which hold the unbiased variance as PyTorch's do; no gradient flows through them.
 */
export function batchNormTraining(
  x: Value,
  parameters: { scale: Value; bias: Value; runningMean: Value; runningVariance: Value },
  { epsilon = 1e-5, momentum = 0.1 } = {},
): { y: Value; runningMean: Value; runningVariance: Value } {
  const axes = [0, 2, 3];
  const perChannel = (value: Value): Value => o.Unsqueeze(value, [1, 2]);
  const mean = o.ReduceMean(x, axes);
  const centred = o.Sub(x, perChannel(mean));
  const variance = o.ReduceMean(o.Mul(centred, centred), axes);
  const inverse = o.Reciprocal(o.Sqrt(o.Add(variance, epsilon)));
  const y = o.Add(
    o.Mul(centred, perChannel(o.Mul(inverse, parameters.scale))),
    perChannel(parameters.bias),
  );
  const count = o.sizeAlong(x, axes);
  const unbiased = o.Mul(variance, o.Div(count, o.Sub(asValue(count, x), 1)));
  const blend = (running: Value, batch: Value): Value =>
    o.Add(o.Mul(running, 1 - momentum), o.Mul(batch, momentum));
  return {
    y,
    runningMean: blend(parameters.runningMean, mean),
    runningVariance: blend(parameters.runningVariance, unbiased),
  };
}

const asValue = (value: Value | number, like: Value): Value =>
  typeof value === 'number' ? scalar(value, like.dtype) : value;

/** murmur3's 32-bit finalizer on uint32: every input bit reaches every output bit. */
function mix(x: Value): Value {
  let hash = o.BitwiseXor(x, o.BitShift(x, 16, 'RIGHT'));
  hash = o.Mul(hash, 0x85ebca6b);
  hash = o.BitwiseXor(hash, o.BitShift(hash, 13, 'RIGHT'));
  hash = o.Mul(hash, 0xc2b2ae35);
  return o.BitwiseXor(hash, o.BitShift(hash, 16, 'RIGHT'));
}

/** A uint32 key for one of several uses, from the key of all of them. */
export const deriveKey = (key: Value, use: Value | number): Value =>
  mix(o.Add(mix(o.Add(key, 0x9e3779b9)), typeof use === 'number' ? scalar(use, 'uint32') : use));

/** Uniform uint32 bits for each of `size` positions: a counter-based generator (Salmon et al. 2011). */
function randomBits(key: Value, count: Value | number, size: Dim): Value {
  const end = typeof count === 'number' ? scalar(count, 'int32') : o.Cast(count, 'int32');
  const index = o.Cast(o.Range(scalar(0, 'int32'), end, size), 'uint32');
  return mix(o.Add(o.Mul(index, 0x9e3779b9), key));
}

/**
 * Inverted dropout whose mask is a pure function of `key` (uint32 scalar). ONNX's own Dropout draws
 * from a generator inside the session, whose state a resumed training run could not restore.
 */
export function dropout(x: Value, rate: number, key: Value): Value {
  if (!(rate >= 0 && rate < 1)) throw new GraphError(`dropout rate must be in [0, 1), got ${rate}`);
  if (rate === 0) return x;
  const all = x.shape.map((_, axis) => axis);
  const count = o.elementCount(x, all);
  const bits = o.ReshapeLike(randomBits(key, count, sizeOf(x.shape)), x);
  const kept = o.Less(bits, Math.floor((1 - rate) * 2 ** 32));
  return o.Mul(o.Where(kept, x, 0), 1 / (1 - rate));
}
