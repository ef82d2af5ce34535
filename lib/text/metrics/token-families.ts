/** Two measures of single tokens that papers mix up under one name; they are never one column here. */
import { countNgrams, sum, type TokenPair } from './pairs.ts';

/** How many positions there are, and at how many the model is right. */
export interface TokenCounts {
  readonly correct: number;
  readonly total: number;
}

/**
 * Teacher-forced token accuracy of one batch: the most probable next token against the true one,
 * every position being given the true tokens before it; padding does not count. Both hold [rows x
 * positions] ids.
 */
export function countCorrectTokens(
  predicted: ArrayLike<number | bigint>,
  target: ArrayLike<number | bigint>,
  padId: number,
): TokenCounts {
  if (predicted.length !== target.length) {
    throw new Error(`${predicted.length} predicted tokens, ${target.length} true ones`);
  }
  let [correct, total] = [0, 0];
  for (let at = 0; at < target.length; at++) {
    const wanted = Number(target[at]);
    if (wanted === padId) continue;
    total += 1;
    if (Number(predicted[at]) === wanted) correct += 1;
  }
  return { correct, total };
}

/** NaN where nothing was counted. */
export const tokenAccuracy = (batches: readonly TokenCounts[]): number =>
  sum(batches.map(({ correct }) => correct)) / sum(batches.map(({ total }) => total));

/** Words of a generated text, of its reference, and of both (each as often as it is in both). */
export interface UnigramCounts {
  readonly written: number;
  readonly wanted: number;
  readonly common: number;
}

/** Order plays no part; against the first reference. */
export function unigramCounts({ candidate, references }: TokenPair): UnigramCounts {
  const wanted = countNgrams(references[0], 1);
  const common = sum(
    Array.from(countNgrams(candidate, 1), ([word, count]) =>
      Math.min(count, wanted.get(word) ?? 0),
    ),
  );
  return { written: candidate.length, wanted: references[0].length, common };
}

/** Precision, recall and F1 of all texts' words pooled; 0 where there is nothing to count. */
export function unigramScores(
  pairs: readonly UnigramCounts[],
): readonly [precision: number, recall: number, f1: number] {
  const common = sum(pairs.map((pair) => pair.common));
  const written = sum(pairs.map((pair) => pair.written));
  const wanted = sum(pairs.map((pair) => pair.wanted));
  const share = (part: number, whole: number) => (whole === 0 ? 0 : part / whole);
  return [share(common, written), share(common, wanted), share(2 * common, written + wanted)];
}
