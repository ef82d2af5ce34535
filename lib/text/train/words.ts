import { Tokenizer } from '@huggingface/tokenizers';
import { invalidArgument } from '../../errors.ts';

/**
 * How often each word of a corpus occurs, in the order of their first occurrence, normalized and split
 * as the trained tokenizer will do it.
 */
export function countWords(
  corpus: Iterable<string>,
  steps: { readonly normalizer: unknown; readonly pre_tokenizer: unknown },
): Map<string, number> {
  // The library has no way to make its normalizers and splitters alone.
  const { normalizer, pre_tokenizer: splitter } = new Tokenizer(
    {
      ...steps,
      added_tokens: [],
      post_processor: null,
      decoder: null,
      model: {
        type: 'WordPiece',
        unk_token: '',
        continuing_subword_prefix: '##',
        vocab: { '': 0 },
      },
    },
    {},
  );
  const counts = new Map<string, number>();
  for (const text of corpus) {
    const normal = normalizer ? normalizer.normalize(text) : text;
    for (const word of splitter ? splitter.pre_tokenize(normal) : [normal]) {
      counts.set(word, (counts.get(word) ?? 0) + 1);
    }
  }
  return counts;
}

/** Every visible character of ASCII, so that no ASCII text is unknown. */
const ascii: readonly string[] = Array.from({ length: 0x7e - 0x20 }, (_, at) =>
  String.fromCodePoint(at + 0x21),
);

/** The characters of ASCII, then those of the corpus, most frequent first. */
export function charactersOf(words: ReadonlyMap<string, number>): readonly string[] {
  const counts = new Map<string, number>();
  for (const [word, count] of words) {
    for (const character of word) counts.set(character, (counts.get(character) ?? 0) + count);
  }
  const found = [...counts].toSorted(([a, m], [b, n]) => n - m || order(a, b));
  return [...new Set([...ascii, ...found.map(([character]) => character)])];
}

/** By UTF-16 code units: the same in every locale. */
export function order(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

export function requireSize(size: number, least: number): void {
  if (Number.isInteger(size) && size >= least) return;
  const message = `got ${size}, expected a whole number of at least ${least}: the special tokens and every single character`;
  throw invalidArgument('VOCABULARY_SIZE', 'size', message);
}
