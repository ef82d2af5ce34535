/**
 * BLEU-1..4 as pycocoevalcap computes it (Papineni et al. 2002): clipped counts, the reference of the
 * closest length, and terms so small that they only keep a corpus without a match from being 0.
 */
import { countNgrams, sum, type TokenPair } from './pairs.ts';

const longest = 4;
const tiny = 1e-15;
const small = 1e-9;

/** What a pair adds to its corpus; a corpus' BLEU is that of the sums. */
export interface BleuCounts {
  readonly length: number;
  readonly referenceLength: number;
  /** N-grams of the candidate by n - 1, and how many of them are in a reference. */
  readonly guessed: readonly number[];
  readonly correct: readonly number[];
}

export function bleuCounts({ candidate, references }: TokenPair): BleuCounts {
  const lengths = [1, 2, 3, 4].slice(0, longest);
  const closest = references
    .map(({ length }) => length)
    .toSorted((a, b) => distance(a) - distance(b) || a - b);
  function distance(length: number): number {
    return Math.abs(length - candidate.length);
  }
  return {
    length: candidate.length,
    referenceLength: closest[0] ?? 0,
    guessed: lengths.map((n) => Math.max(0, candidate.length - n + 1)),
    correct: lengths.map((n) => {
      const counts = references.map((reference) => countNgrams(reference, n));
      const most = (ngram: string) => Math.max(...counts.map((count) => count.get(ngram) ?? 0));
      return sum(
        Array.from(countNgrams(candidate, n), ([ngram, count]) => Math.min(count, most(ngram))),
      );
    }),
  };
}

export function addBleu(pairs: readonly BleuCounts[]): BleuCounts {
  const total = (value: (pair: BleuCounts) => number) => sum(pairs.map(value));
  const each = (value: (pair: BleuCounts) => readonly number[]) =>
    Array.from({ length: longest }, (_, n) => total((pair) => value(pair)[n] ?? 0));
  return {
    length: total(({ length }) => length),
    referenceLength: total(({ referenceLength }) => referenceLength),
    guessed: each(({ guessed }) => guessed),
    correct: each(({ correct }) => correct),
  };
}

/** BLEU-1 to BLEU-4. */
export function bleu({ length, referenceLength, guessed, correct }: BleuCounts): readonly number[] {
  const ratio = (length + tiny) / (referenceLength + small);
  const brevity = ratio < 1 ? Math.exp(1 - 1 / ratio) : 1;
  let product = 1;
  return guessed.map((count, at) => {
    product *= ((correct[at] ?? 0) + tiny) / (count + small);
    return product ** (1 / (at + 1)) * brevity;
  });
}
