/**
 * CIDEr as pycocoevalcap computes it, which is CIDEr-D (Vedantam et al. 2015): n-grams weighted by how
 * few references hold them, counts clipped to the reference's, and a penalty for another length.
 */
import { countNgrams, mean, type TokenPair } from './pairs.ts';

const longest = 4;
const sigma = 6;

interface Vector {
  /** Weights by n - 1. */
  readonly weights: readonly ReadonlyMap<string, number>[];
  readonly norms: readonly number[];
  /** Number of bigrams, which the length penalty compares. */
  readonly length: number;
}

/** The score of each pair, 0 to 10; all references together decide how rare an n-gram is. */
export function cider(pairs: readonly TokenPair[]): readonly number[] {
  const holders = new Map<string, number>();
  for (const { references } of pairs) {
    const distinct = new Set(
      references.flatMap((text) => ngramsOf(text).flatMap((counts) => Array.from(counts.keys()))),
    );
    for (const ngram of distinct) holders.set(ngram, (holders.get(ngram) ?? 0) + 1);
  }
  const logPairs = Math.log(pairs.length);
  const vector = (text: readonly string[]): Vector => {
    const ngrams = ngramsOf(text);
    const weights = ngrams.map(
      (counts) =>
        new Map(
          Array.from(counts, ([ngram, count]) => [
            ngram,
            count * (logPairs - Math.log(Math.max(1, holders.get(ngram) ?? 0))),
          ]),
        ),
    );
    return { weights, norms: weights.map(normOf), length: Math.max(0, text.length - 1) };
  };
  return pairs.map(({ candidate, references }) => {
    const written = vector(candidate);
    return 10 * mean(references.map((reference) => similarity(written, vector(reference))));
  });
}

const ngramsOf = (text: readonly string[]) =>
  Array.from({ length: longest }, (_, at) => countNgrams(text, at + 1));

function normOf(weights: ReadonlyMap<string, number>): number {
  let squares = 0;
  for (const weight of weights.values()) squares += weight * weight;
  return Math.sqrt(squares);
}

function similarity(written: Vector, reference: Vector): number {
  const penalty = Math.exp(-((written.length - reference.length) ** 2) / (2 * sigma ** 2));
  return mean(
    written.weights.map((weights, n) => {
      const others = reference.weights[n];
      let product = 0;
      for (const [ngram, weight] of weights) {
        const other = others?.get(ngram) ?? 0;
        product += Math.min(weight, other) * other;
      }
      const norm = (written.norms[n] ?? 0) * (reference.norms[n] ?? 0);
      return (norm === 0 ? product : product / norm) * penalty;
    }),
  );
}
