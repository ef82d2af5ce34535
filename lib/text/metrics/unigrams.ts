/**
 * The words of free generation, pooled over all reports. It is not the accuracy of single tokens under
 * teacher forcing, which papers print under the same name; the training graph counts that one.
 */
import { countNgrams, sum, type TokenPair } from './pairs.ts';

/** Words of a generated text, of its reference, and of both (each as often as it is in both). */
export interface UnigramCounts {
  readonly written: number;
  readonly wanted: number;
  readonly common: number;
}

/** Counts without regard to order, against the first reference. */
export function unigramCounts({ candidate, references }: TokenPair): UnigramCounts {
  const wanted = countNgrams(references[0], 1);
  const common = sum(
    Array.from(countNgrams(candidate, 1), ([word, count]) =>
      Math.min(count, wanted.get(word) ?? 0),
    ),
  );
  return { written: candidate.length, wanted: references[0].length, common };
}

/** Precision, recall and F1 of all texts' words pooled; 0 if there is nothing to count. */
export function unigramScores(
  pairs: readonly UnigramCounts[],
): readonly [precision: number, recall: number, f1: number] {
  const common = sum(pairs.map((pair) => pair.common));
  const written = sum(pairs.map((pair) => pair.written));
  const wanted = sum(pairs.map((pair) => pair.wanted));
  const share = (part: number, whole: number) => (whole === 0 ? 0 : part / whole);
  return [share(common, written), share(common, wanted), share(2 * common, written + wanted)];
}
