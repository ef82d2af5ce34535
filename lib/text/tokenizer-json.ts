/** The part of the file format of Hugging Face's tokenizers library that our two kinds of model need. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { DomainError, invalidArgument } from '../errors.ts';

const addedToken = z.looseObject({ id: z.int().min(0), content: z.string(), special: z.boolean() });

const wordPieceModel = z.looseObject({
  type: z.literal('WordPiece'),
  unk_token: z.string(),
  continuing_subword_prefix: z.string(),
  vocab: z.record(z.string(), z.int().min(0)),
});

const unigramModel = z.looseObject({
  type: z.literal('Unigram'),
  unk_id: z.int().min(0),
  byte_fallback: z.literal(false).optional(),
  vocab: z.array(z.tuple([z.string(), z.number()])).min(1),
});

const decoder = z.discriminatedUnion('type', [
  z.looseObject({ type: z.literal('WordPiece'), prefix: z.string(), cleanup: z.boolean() }),
  z.looseObject({ type: z.literal('Metaspace'), replacement: z.string() }),
]);

const schema = z.looseObject({
  added_tokens: z.array(addedToken),
  normalizer: z.unknown(),
  pre_tokenizer: z.unknown(),
  post_processor: z.unknown(),
  decoder,
  model: z.discriminatedUnion('type', [wordPieceModel, unigramModel]),
});

export type TokenizerJson = z.infer<typeof schema>;
export type DecoderJson = z.infer<typeof decoder>;

/** Reads a tokenizer.json, or checks a parsed one. Throws TOKENIZER_MALFORMED naming the field. */
export function readTokenizerJson(source: string | object): TokenizerJson {
  const name = typeof source === 'string' ? source : 'tokenizer';
  const checked = schema.safeParse(typeof source === 'string' ? readJson(source) : source);
  if (!checked.success) {
    const [issue] = checked.error.issues;
    const path = issue?.path.join('.') ?? '';
    throw malformed(name, path === '' ? `${issue?.message}` : `${path}: ${issue?.message}`);
  }
  const { model } = checked.data;
  if (model.type === 'Unigram' && model.unk_id >= model.vocab.length) {
    throw malformed(name, `model.unk_id: ${model.unk_id}, of ${model.vocab.length} pieces`);
  }
  if (model.type === 'WordPiece' && model.vocab[model.unk_token] === undefined) {
    throw malformed(name, `model.unk_token: "${model.unk_token}" is not in model.vocab`);
  }
  return checked.data;
}

function readJson(path: string): unknown {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const message = `${path}: cannot be read as a tokenizer`;
    throw new DomainError('NOT_FOUND', 'TOKENIZER_MISSING', message, { field: path, cause: error });
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw invalidArgument('TOKENIZER_MALFORMED', path, 'expected JSON', { cause: error });
  }
}

const malformed = (name: string, what: string) =>
  invalidArgument('TOKENIZER_MALFORMED', name, what);

/** A special token in the format of the file. */
export const specialToken = (content: string, id: number) => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
});

/** BERT's: normalized and split at spaces and punctuation, `[CLS] text [SEP]`. */
export function wordPieceJson(
  vocab: Readonly<Record<string, number>>,
  { lowercase }: { readonly lowercase: boolean },
): TokenizerJson {
  const specials = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'];
  const idOf = (token: string) => {
    const id = vocab[token];
    if (id === undefined) throw malformed('vocabulary', `lacks ${token}`);
    return id;
  };
  const [cls, sep] = ['[CLS]', '[SEP]'];
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: specials
      .map((token) => specialToken(token, idOf(token)))
      .sort((a, b) => a.id - b.id),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'TemplateProcessing',
      single: [special(cls), sequence('A', 0), special(sep)],
      pair: [special(cls), sequence('A', 0), special(sep), sequence('B', 1), special(sep, 1)],
      special_tokens: templateTokens([cls, sep], idOf),
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab,
    },
  };
}

/** T5's: pieces that begin with ▁ where a word does, `text </s>`. */
export function unigramJson(options: {
  readonly normalizer: object;
  readonly vocab: readonly (readonly [piece: string, score: number])[];
  readonly unknown: string;
  readonly end: string;
  /** Tokens that are not text, `end` and `unknown` among them. */
  readonly specials: readonly string[];
}): TokenizerJson {
  const { normalizer, end, specials } = options;
  const vocab = options.vocab.map(([piece, score]): [string, number] => [piece, score]);
  const ids = new Map(vocab.map(([piece], id) => [piece, id]));
  const idOf = (token: string) => {
    const id = ids.get(token);
    if (id === undefined) throw malformed('vocabulary', `lacks ${token}`);
    return id;
  };
  const metaspace = { type: 'Metaspace' as const, replacement: '▁', prepend_scheme: 'always' };
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: specials
      .map((token) => specialToken(token, idOf(token)))
      .sort((a, b) => a.id - b.id),
    normalizer,
    pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'WhitespaceSplit' }, metaspace] },
    post_processor: {
      type: 'TemplateProcessing',
      single: [sequence('A', 0), special(end)],
      pair: [sequence('A', 0), special(end), sequence('B', 0), special(end)],
      special_tokens: templateTokens([end], idOf),
    },
    decoder: metaspace,
    model: { type: 'Unigram', unk_id: idOf(options.unknown), vocab },
  };
}

const special = (id: string, type = 0) => ({ SpecialToken: { id, type_id: type } });
const sequence = (id: string, type: number) => ({ Sequence: { id, type_id: type } });

const templateTokens = (tokens: readonly string[], idOf: (token: string) => number) =>
  Object.fromEntries(
    tokens.map((token) => [token, { id: token, ids: [idOf(token)], tokens: [token] }]),
  );
