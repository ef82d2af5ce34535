/**
 * Text to token ids and back: WordPiece for the encoder, Unigram for the decoder, both read from a
 * Hugging Face tokenizer.json.
 */
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { DomainError, invalidArgument } from '../errors.ts';
import { type DecoderJson, readTokenizerJson, type TokenizerJson } from './tokenizer-json.ts';

export { trainUnigram } from './train/unigram.ts';
export { trainWordPiece } from './train/word-piece.ts';

export interface Tokenizer {
  /** One more than the highest id; a model may have more rows, but must not have fewer. */
  readonly vocabularySize: number;
  /**
   * The ids of a text, without special tokens around it. The name of a special token within the text
   * is text: an indication with `</s>` cannot end a report. Throws TEXT_TOO_LONG above
   * `maxCharacters`.
   */
  readonly encode: (text: string) => number[];
  /** The text of ids; special tokens and unknown ids have no text. */
  readonly decode: (ids: Iterable<number>) => string;
  /** Decodes ids one by one; its outputs joined are the result of `decode` for all of them. */
  readonly streamDecoder: () => StreamDecoder;
  /** The id of a token, such as `[SEP]` or `</s>`. Throws TOKEN_UNKNOWN. */
  readonly idOf: (token: string) => number;
}

interface StreamDecoder {
  /** The text that is certain after this id: whole words, without the space that follows. */
  readonly push: (id: number) => string;
  /** The rest. */
  readonly end: () => string;
}

/** Length of the longest text that `encode` accepts, in UTF-16 units. */
export const maxCharacters = 65_536;

/** From the path of a tokenizer.json, or its parsed content. Throws TOKENIZER_MALFORMED naming the field. */
export function loadTokenizer(source: string | object): Tokenizer {
  const json = readTokenizerJson(source);
  const specials = new Set(json.added_tokens.filter(({ special }) => special).map(({ id }) => id));
  const tokens = tokensOf(json);
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const encoder = encoderOf(json, specials);
  const textOf = pieceDecoder(json.decoder);
  const streamDecoder = () => stream((id) => (specials.has(id) ? undefined : tokens[id]), textOf);
  return {
    vocabularySize: tokens.length,
    encode: (text) => {
      if (text.length > maxCharacters) {
        const message = `got ${text.length} characters, expected at most ${maxCharacters}`;
        throw invalidArgument('TEXT_TOO_LONG', 'text', message);
      }
      const clean = text.replaceAll(hidden, ' ');
      return encoder.encode(clean, { add_special_tokens: false }).ids;
    },
    decode: (all) => {
      const decoder = streamDecoder();
      return Array.from(all, (id) => decoder.push(id)).join('') + decoder.end();
    },
    streamDecoder,
    idOf: (token) => {
      const id = ids.get(token);
      if (id !== undefined) return id;
      const message = `the tokenizer has no token ${JSON.stringify(token)}`;
      throw new DomainError('FAILED_PRECONDITION', 'TOKEN_UNKNOWN', message, { field: 'token' });
    },
  };
}

/** By id; ids that a file skips are holes. */
function tokensOf({ model, added_tokens: added }: TokenizerJson): readonly (string | undefined)[] {
  const tokens: (string | undefined)[] = [];
  if (model.type === 'Unigram') for (const [piece] of model.vocab) tokens.push(piece);
  else for (const [piece, id] of Object.entries(model.vocab)) tokens[id] = piece;
  for (const { content, id } of added) tokens[id] = content;
  return tokens;
}

/** A noncharacter of Unicode: special tokens are renamed with it, so that no text contains one. */
const hidden = '\uFFFF';

function encoderOf(json: TokenizerJson, specials: ReadonlySet<number>): HuggingFaceTokenizer {
  const hide = (token: string, id: number) => (specials.has(id) ? `${hidden}${id}` : token);
  const { model } = json;
  const hiddenModel =
    model.type === 'Unigram'
      ? { ...model, vocab: model.vocab.map(([piece, score], id) => [hide(piece, id), score]) }
      : {
          ...model,
          unk_token: hide(model.unk_token, model.vocab[model.unk_token] as number),
          vocab: Object.fromEntries(
            Object.entries(model.vocab).map(([piece, id]) => [hide(piece, id), id]),
          ),
        };
  const added = json.added_tokens.filter(({ special }) => !special);
  return new HuggingFaceTokenizer(
    { ...json, model: hiddenModel, added_tokens: added, post_processor: null },
    {},
  );
}

/** The text that a token adds after the ones before it; `first` where there are none. */
type PieceDecoder = (token: string, first: boolean) => string;

function pieceDecoder(decoder: DecoderJson): PieceDecoder {
  if (decoder.type === 'Metaspace') {
    return (token, first) => {
      const text = token.replaceAll(decoder.replacement, ' ');
      return first && text.startsWith(' ') ? text.slice(1) : text;
    };
  }
  const { prefix, cleanup } = decoder;
  return (token, first) => {
    if (first) return token;
    if (prefix !== '' && token.startsWith(prefix)) return token.slice(prefix.length);
    return cleanup && attached.test(token) ? token : ` ${token}`;
  };
}

/** Tokens without a space before them (clean_up_tokenization of the library). */
const attached = /^(?:[.?!,]|n't|'m|'s|'ve|'re)/;

function stream(tokenOf: (id: number) => string | undefined, textOf: PieceDecoder): StreamDecoder {
  let first = true;
  let pending = '';
  return {
    push(id) {
      const token = tokenOf(id);
      if (token === undefined) return '';
      pending += textOf(token, first);
      first = false;
      const word = pending.lastIndexOf(' ');
      if (word <= 0) return '';
      const certain = pending.slice(0, word);
      pending = pending.slice(word);
      return certain;
    },
    end() {
      const rest = pending;
      pending = '';
      return rest;
    },
  };
}
