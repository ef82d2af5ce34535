import type { OutOfDistribution } from '../releases/manifest.ts';

/**
 * How far the pooled features [C] of an image lie from those of the training images: the mean over
 * the channels of ((x - mean) / std)^2.
 */
export function distanceTo(
  pooled: Float32Array,
  { mean, std }: Pick<OutOfDistribution, 'mean' | 'std'>,
): number {
  const sum = pooled.reduce(
    (sum, value, channel) => sum + ((value - mean[channel]!) / std[channel]!) ** 2,
    0,
  );
  return sum / pooled.length;
}

/**
 * The distance as a multiple of the release's threshold: above 1, a caller is warned. Undefined for a
 * release without a distribution.
 */
export function outOfDistribution(
  pooled: Float32Array,
  distribution: OutOfDistribution | null,
): number | undefined {
  if (distribution === null) return undefined;
  return distanceTo(pooled, distribution) / distribution.threshold;
}
