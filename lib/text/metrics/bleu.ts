/**
 * BLEU-1..4 as pycocoevalcap computes it (Papineni et al. 2002): clipped counts, the reference of the
 * closest length, and tiny terms that keep the score of a corpus without a match above 0.
 */
import { countNgrams, type Counts, sum, type TokenPair } from './pairs.ts';

const longest = 4;
const tiny = 1e-15;
const small = 1e-9;

/** The counts of one pair; the BLEU of a corpus is that of their sums. */
export interface BleuCounts {
  readonly length: number;
  readonly referenceLength: number;
  /** N-grams of the candidate by n - 1, and how many of them are in a reference. */
  readonly guessed: readonly number[];
  readonly correct: readonly number[];
}

export function bleuCounts({ candidate, references }: TokenPair): BleuCounts {
  return countBleu(bleuText(candidate), references.map(bleuText));
}

/** A text with its n-grams counted, by n - 1. */
export interface BleuText {
  readonly length: number;
  readonly ngrams: readonly Counts[];
}

export const bleuText = (tokens: readonly string[]): BleuText => ({
  length: tokens.length,
  ngrams: Array.from({ length: longest }, (_, at) => countNgrams(tokens, at + 1)),
});

/** `bleuCounts` of texts that are compared more than once. */
export function countBleu(candidate: BleuText, references: readonly BleuText[]): BleuCounts {
  const distance = ({ length }: BleuText) => Math.abs(length - candidate.length);
  const [closest] = references.toSorted((a, b) => distance(a) - distance(b) || a.length - b.length);
  return {
    length: candidate.length,
    referenceLength: closest?.length ?? 0,
    guessed: candidate.ngrams.map((_, at) => Math.max(0, candidate.length - at)),
    correct: candidate.ngrams.map((counts, at) => {
      let correct = 0;
      for (const [ngram, count] of counts) {
        let most = 0;
        for (const { ngrams } of references) most = Math.max(most, ngrams[at]?.get(ngram) ?? 0);
        correct += Math.min(count, most);
      }
      return correct;
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
