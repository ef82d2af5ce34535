import { topIndices } from './processors.ts';
import { mix32 } from '../../models/init.ts';
import type { DecodingOptions } from '../../releases/decoding.ts';

/**
 * Uniform in [0, 1) for a seed and a position (murmur3's finalizer over a counter): a request draws the
 * same numbers in any batch.
 */
export function uniformAt(seed: number, position: number): number {
  let high = mix32((seed + Math.imul(position + 1, 0x9e3779b9)) >>> 0);
  const low = mix32((high ^ 0x85ebca6b) >>> 0);
  high >>>= 5;
  return (high * 2 ** 26 + (low >>> 6)) / 2 ** 53;
}

/**
 * Draws a token: temperature, then the k likeliest, then the fewest whose probability reaches p, as
 * Hugging Face's warpers do. `uniform` in [0, 1) picks along the candidates, likeliest first.
 */
export function sampleToken(
  scores: Float32Array,
  { temperature, topK, topP }: DecodingOptions,
  uniform: number,
): number {
  const candidates =
    topK > 0 && topK < scores.length
      ? topIndices(scores, topK)
      : possible(scores, topP, temperature);
  const highest = scores[candidates[0] as number] as number;
  const weights = candidates.map((id) =>
    Math.exp(((scores[id] as number) - highest) / temperature),
  );
  const all = topK > 0 ? sum(weights) : totalWeight(scores, highest, temperature);
  // The fewest that reach p, at least one.
  let kept = 0;
  let mass = 0;
  while (kept < weights.length && (kept === 0 || mass < topP * all)) mass += weights[kept++] ?? 0;
  let left = uniform * mass;
  for (let i = 0; i < kept; i++) {
    left -= weights[i] as number;
    if (left < 0) return candidates[i] as number;
  }
  return candidates[kept - 1] as number;
}

const sum = (values: readonly number[]): number =>
  values.reduce((total, value) => total + value, 0);

function totalWeight(scores: Float32Array, highest: number, temperature: number): number {
  let total = 0;
  for (const score of scores) total += Math.exp((score - highest) / temperature);
  return total;
}

/**
 * Every token that can be among the fewest that reach p, likeliest first. All tokens below a probability
 * of (1 - p) / vocabulary together hold less than 1 - p, so p is reached without them: they need not be
 * sorted.
 */
function possible(scores: Float32Array, topP: number, temperature: number): number[] {
  let highest = -Infinity;
  for (const score of scores) if (score > highest) highest = score;
  const total = totalWeight(scores, highest, temperature);
  const least = Math.log(((1 - topP) / scores.length) * total) * temperature + highest;
  const ids: number[] = [];
  for (let i = 0; i < scores.length; i++) {
    const score = scores[i] as number;
    if (score > -Infinity && score >= least) ids.push(i);
  }
  return ids.sort((a, b) => (scores[b] as number) - (scores[a] as number) || a - b);
}
