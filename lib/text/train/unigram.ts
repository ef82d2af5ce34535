/**
 * Trains a Unigram vocabulary (Kudo 2018, arXiv:1804.10959) as sentencepiece does: start from every
 * frequent part of a word, fit the pieces' probabilities by expectation maximization, remove the
 * pieces whose loss costs least, and repeat.
 */
import { type TokenizerJson, unigramJson } from '../tokenizer-json.ts';
import { bestPath, expectedCounts, type Scores } from './lattice.ts';
import { charactersOf, countWords, order, requireSize } from './words.ts';

const specials = ['<pad>', '</s>', '<unk>'];
const wordStart = '▁';
const longestPiece = 16;
/** Seed pieces for each wanted piece. */
const seedFactor = 10;
const roundsBetweenCuts = 2;
/** The share of the pieces that a cut keeps. */
const keptShare = 0.75;
/** Cuts end at a little more than the wanted size; then the most probable pieces are taken. */
const lastCutFactor = 1.1;

type Words = ReadonlyMap<string, number>;

/**
 * A tokenizer.json of at most `size` pieces, `<pad>` being 0, `</s>` 1, `<unk>` 2; fewer if the
 * corpus has no more. The same corpus gives the same file.
 */
export function trainUnigram(corpus: Iterable<string>, size: number): TokenizerJson {
  const normalizer = { type: 'NFKC' };
  const template = { normalizer, unknown: '<unk>', end: '</s>', specials };
  const blank = specials.map((token): [string, number] => [token, 0]);
  const words = countWords(corpus, unigramJson({ ...template, vocab: blank }));
  const letters = new Set([wordStart, ...charactersOf(words)]);
  requireSize(size, specials.length + letters.size);
  const wanted = size - specials.length;
  let scores = seedScores(words, letters, wanted * seedFactor);
  for (;;) {
    for (let round = 0; round < roundsBetweenCuts; round++) scores = fit(scores, words, letters);
    const least = Math.ceil(wanted * lastCutFactor);
    if (scores.size <= least) break;
    scores = cut(scores, words, Math.max(least, Math.floor(scores.size * keptShare)));
  }
  return unigramJson({ ...template, vocab: [...blank, ...mostProbable(scores, letters, wanted)] });
}

/** Every letter, and the parts of words that cover most of the corpus. */
function seedScores(words: Words, letters: ReadonlySet<string>, most: number): Scores {
  const counts = new Map<string, number>();
  for (const [word, count] of words) {
    const text = Array.from(word);
    for (let start = 0; start < text.length; start++) {
      let piece = '';
      let kind: string | undefined;
      for (const letter of text.slice(start, start + longestPiece)) {
        if (letter !== wordStart && kind !== undefined && kind !== kindOf(letter)) break;
        if (letter !== wordStart) kind = kindOf(letter);
        piece += letter;
        counts.set(piece, (counts.get(piece) ?? 0) + count);
      }
    }
  }
  const covers = ([piece, count]: readonly [string, number]) => count * piece.length;
  const parts = [...counts]
    .filter(([piece, count]) => !letters.has(piece) && count > 1)
    .toSorted((a, b) => covers(b) - covers(a) || order(a[0], b[0]))
    .slice(0, most);
  const seeds = [...letters]
    .map((letter): [string, number] => [letter, counts.get(letter) ?? 1])
    .concat(parts);
  const total = seeds.reduce((sum, seed) => sum + covers(seed), 0);
  return new Map(seeds.map((seed) => [seed[0], Math.log(covers(seed) / total)]));
}

/** Words, numbers and punctuation are pieces of their own. */
function kindOf(letter: string): string {
  if (/\p{L}/u.test(letter)) return 'letter';
  return /\p{N}/u.test(letter) ? 'number' : 'other';
}

/** Below this many expected uses a piece is dropped; a letter counts as used this often. */
const fewestUses = 0.5;

/** One round of expectation maximization, with the sparse prior of sentencepiece. */
function fit(scores: Scores, words: Words, letters: ReadonlySet<string>): Scores {
  const expected = [...expectedCounts(scores, words)]
    .map(([piece, count]): [string, number] => [
      piece,
      letters.has(piece) ? Math.max(count, fewestUses) : count,
    ])
    .filter(([, count]) => count >= fewestUses);
  const total = digamma(expected.reduce((sum, [, count]) => sum + count, 0));
  return new Map(expected.map(([piece, count]) => [piece, digamma(count) - total]));
}

/** The `most` pieces whose loss would make the corpus least probable; letters are always kept. */
function cut(scores: Scores, words: Words, most: number): Scores {
  const uses = new Map<string, number>();
  let total = 0;
  for (const [word, count] of words) {
    for (const piece of bestPath(Array.from(word), scores)) {
      uses.set(piece, (uses.get(piece) ?? 0) + count);
      total += count;
    }
  }
  const logTotal = Math.log(total);
  const loss = (piece: string): number => {
    const letters = Array.from(piece);
    if (letters.length === 1) return Number.POSITIVE_INFINITY;
    const count = uses.get(piece) ?? 0;
    if (count === 0) return Number.NEGATIVE_INFINITY;
    const replacement = bestPath(letters, scores, piece);
    const logTotalThen = Math.log(total + count * (replacement.length - 1));
    const then = replacement.reduce(
      (sum, part) => sum + Math.log((uses.get(part) ?? 0) + count) - logTotalThen,
      0,
    );
    return (count / total) * (Math.log(count) - logTotal - then);
  };
  const losses = Array.from(scores, ([piece, score]) => ({ piece, score, loss: loss(piece) }));
  // If neither is used, the difference is NaN.
  losses.sort((a, b) => (b.loss === a.loss ? order(a.piece, b.piece) : b.loss - a.loss));
  return new Map(losses.slice(0, most).map(({ piece, score }) => [piece, score]));
}

function mostProbable(
  scores: Scores,
  letters: ReadonlySet<string>,
  wanted: number,
): readonly (readonly [string, number])[] {
  const byScore = [...scores].toSorted(([a, m], [b, n]) => n - m || order(a, b));
  const parts = byScore.filter(([piece]) => !letters.has(piece));
  const kept = new Set(parts.slice(0, wanted - letters.size).map(([piece]) => piece));
  return byScore.filter(([piece]) => letters.has(piece) || kept.has(piece));
}

/** The derivative of the logarithm of the gamma function, x > 0: recurrence, then the asymptotic series. */
function digamma(x: number): number {
  let result = 0;
  for (; x < 7; x++) result -= 1 / x;
  const y = 1 / (x * x);
  const series = y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y / 132))));
  return result + Math.log(x) - 0.5 / x - series;
}
