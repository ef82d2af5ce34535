import { o } from './build.ts';
import type { Value } from './value.ts';

/**
 * Mean softmax cross-entropy over the labeled positions. logits [N, classes]; labels [N] int64,
 * where a negative label (-100 by convention) is ignored. Without any such position the loss is 0.
 */
export function softmaxCrossEntropy(logits: Value, labels: Value): Value {
  const counted = o.Cast(o.Greater(labels, -1), logits.dtype);
  const index = o.Unsqueeze(o.Max(labels, 0), [1]);
  const logLikelihood = o.Squeeze(o.GatherElements(o.LogSoftmax(logits), index, 1), [1]);
  const total = o.ReduceSum(o.Mul(logLikelihood, counted));
  return o.Neg(o.Div(total, o.Max(o.ReduceSum(counted), 1)));
}

/**
 * Mean binary cross-entropy with logits [N, labels] against targets in [0, 1], in the form that does
 * not overflow: w * z * softplus(-x) + (1 - z) * softplus(x). `positiveWeights` [labels] weigh the
 * positive term of each label; `counted` [N, labels] (0 or 1) leaves entries out of the mean.
 */
export function binaryCrossEntropy(
  logits: Value,
  targets: Value,
  { positiveWeights, counted }: { positiveWeights?: Value; counted?: Value } = {},
): Value {
  const positive = o.Mul(targets, o.Softplus(o.Neg(logits)));
  const negative = o.Mul(o.Sub(1, targets), o.Softplus(logits));
  const each = o.Add(positiveWeights ? o.Mul(positive, positiveWeights) : positive, negative);
  if (!counted) return o.ReduceMean(each);
  return o.Div(o.ReduceSum(o.Mul(each, counted)), o.Max(o.ReduceSum(counted), 1));
}

/** Mean squared error over all elements, or over those where `counted` (broadcast) is 1. */
export function meanSquaredError(x: Value, target: Value, counted?: Value): Value {
  const difference = o.Sub(x, target);
  const square = o.Mul(difference, difference);
  if (!counted) return o.ReduceMean(square);
  const weights = o.ExpandLike(counted, square);
  return o.Div(o.ReduceSum(o.Mul(square, weights)), o.Max(o.ReduceSum(weights), 1));
}
