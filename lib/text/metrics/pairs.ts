/** A generated text and its references. */
export interface Pair {
  readonly candidate: string;
  /** At least one. */
  readonly references: readonly [string, ...string[]];
}

/** The same in tokens. */
export interface TokenPair {
  readonly candidate: readonly string[];
  readonly references: readonly [readonly string[], ...(readonly string[])[]];
}

export type Tokenize = (text: string) => readonly string[];

/**
 * The tokens of the measures of words: words, numbers ("3.2"; "3-4" is two) and full stops, in lower
 * case; other punctuation is left out, as is usual (clean_report of R2Gen, Chen et al. 2020).
 */
export const wordsOf: Tokenize = (text) =>
  text.toLowerCase().match(/\p{N}+(?:\.\p{N}+)*|[\p{L}\p{N}_]+(?:['’][\p{L}]+)*|\./gu) ?? [];

/** Splits texts that are tokenized already, at white space. */
export const splitAtSpaces: Tokenize = (text) => text.split(/\s+/).filter((token) => token !== '');

export function tokenizePairs(pairs: readonly Pair[], tokenize: Tokenize): readonly TokenPair[] {
  return pairs.map(({ candidate, references: [first, ...others] }) => ({
    candidate: tokenize(candidate),
    references: [tokenize(first), ...others.map(tokenize)],
  }));
}

export type Counts = ReadonlyMap<string, number>;

/** How often each run of `length` tokens occurs; tokens hold no space. */
export function countNgrams(tokens: readonly string[], length: number): Counts {
  const counts = new Map<string, number>();
  for (let start = 0; start + length <= tokens.length; start++) {
    const ngram = tokens.slice(start, start + length).join(' ');
    counts.set(ngram, (counts.get(ngram) ?? 0) + 1);
  }
  return counts;
}

export const sum = (values: Iterable<number>): number => {
  let total = 0;
  for (const value of values) total += value;
  return total;
};

export const mean = (values: readonly number[]): number =>
  values.length === 0 ? 0 : sum(values) / values.length;
