/**
 * Trains a WordPiece vocabulary as the tokenizers library does: every character, alone and as a
 * continuation, then repeatedly joins the most frequent pair.
 */
import { type TokenizerJson, wordPieceJson } from '../tokenizer-json.ts';
import { charactersOf, countWords, order, requireSize } from './words.ts';

const specials = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'];
const prefix = '##';

/**
 * A tokenizer.json of at most `size` tokens, lower case, `[PAD]` being 0; fewer if the corpus has
 * nothing left to join. The same corpus gives the same file.
 */
export function trainWordPiece(corpus: Iterable<string>, size: number): TokenizerJson {
  const steps = wordPieceJson(vocabularyOf(specials), { lowercase: true });
  const words = countWords(corpus, steps);
  const letters = charactersOf(words).filter((letter) => letter === letter.toLowerCase());
  const start = [...specials, ...letters, ...letters.map((letter) => prefix + letter)];
  requireSize(size, start.length);
  const tokens = new Set(start);
  const pairs = new Pairs(words);
  while (tokens.size < size) {
    const joined = pairs.joinMostFrequent();
    if (joined === undefined) break;
    tokens.add(joined);
  }
  return wordPieceJson(vocabularyOf(tokens), { lowercase: true });
}

const vocabularyOf = (tokens: Iterable<string>) =>
  Object.fromEntries(Array.from(tokens, (token, id) => [token, id]));

interface Word {
  symbols: string[];
  readonly count: number;
}

interface Candidate {
  readonly key: string;
  readonly count: number;
}

/** Neighbouring symbols of all words, with counts that are updated while pairs are joined. */
class Pairs {
  private readonly counts = new Map<string, number>();
  private readonly places = new Map<string, Set<Word>>();
  private readonly heap: Candidate[] = [];

  constructor(words: ReadonlyMap<string, number>) {
    for (const [text, count] of words) {
      const symbols = Array.from(text, (letter, at) => (at === 0 ? letter : prefix + letter));
      const word = { symbols, count };
      for (const key of keysOf(symbols)) this.add(key, word, count);
    }
    for (const [key, count] of this.counts) pushCandidate(this.heap, { key, count });
  }

  joinMostFrequent(): string | undefined {
    for (;;) {
      const best = popCandidate(this.heap);
      if (best === undefined) return undefined;
      const count = this.counts.get(best.key) ?? 0;
      if (count === 0) continue;
      // Counts change after a candidate was pushed.
      if (count === best.count) return this.join(best.key);
      pushCandidate(this.heap, { key: best.key, count });
    }
  }

  private join(key: string): string {
    const [left = '', right = ''] = key.split(' ');
    const joined = left + right.slice(prefix.length);
    const changed = new Set<string>();
    for (const word of this.places.get(key) ?? []) {
      for (const old of keysOf(word.symbols)) this.add(old, word, -word.count);
      word.symbols = joinIn(word.symbols, left, right, joined);
      for (const now of keysOf(word.symbols)) {
        this.add(now, word, word.count);
        changed.add(now);
      }
    }
    this.places.delete(key);
    for (const now of changed) {
      const count = this.counts.get(now) ?? 0;
      if (count > 0) pushCandidate(this.heap, { key: now, count });
    }
    return joined;
  }

  private add(key: string, word: Word, count: number): void {
    this.counts.set(key, (this.counts.get(key) ?? 0) + count);
    const words = this.places.get(key);
    if (words) words.add(word);
    else this.places.set(key, new Set([word]));
  }
}

const keysOf = (symbols: readonly string[]) =>
  symbols.slice(1).map((right, at) => `${symbols[at]} ${right}`);

function joinIn(symbols: readonly string[], left: string, right: string, joined: string): string[] {
  const result: string[] = [];
  for (let at = 0; at < symbols.length; at++) {
    const here = symbols[at] as string;
    if (here === left && symbols[at + 1] === right) {
      result.push(joined);
      at += 1;
    } else {
      result.push(here);
    }
  }
  return result;
}

/** The order of the heap: the more frequent first, ties by their text. */
const before = (a: Candidate, b: Candidate) =>
  a.count === b.count ? order(a.key, b.key) < 0 : a.count > b.count;

function pushCandidate(heap: Candidate[], candidate: Candidate): void {
  let at = heap.push(candidate) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!before(candidate, heap[parent] as Candidate)) break;
    heap[at] = heap[parent] as Candidate;
    at = parent;
  }
  heap[at] = candidate;
}

function popCandidate(heap: Candidate[]): Candidate | undefined {
  const top = heap[0];
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return top;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    const right = heap[child + 1];
    if (right && before(right, heap[child] as Candidate)) child += 1;
    if (!before(heap[child] as Candidate, last)) break;
    heap[at] = heap[child] as Candidate;
    at = child;
  }
  heap[at] = last;
  return top;
}
