/** Tokenizers in the formats of older checkpoints, converted to tokenizer.json. */
import protobuf from 'protobufjs';
import { DomainError, invalidArgument } from '../errors.ts';
import { specialToken, type TokenizerJson, unigramJson, wordPieceJson } from './tokenizer-json.ts';

/** BERT's vocab.txt: a token a line, its id being the number of the line from 0. */
export function tokenizerFromVocabulary(
  text: string,
  { lowercase }: { readonly lowercase: boolean },
): TokenizerJson {
  const lines = text.replace(/\r?\n$/, '').split(/\r?\n/);
  const vocab: Record<string, number> = Object.create(null) as Record<string, number>;
  for (const [id, token] of lines.entries()) {
    if (vocab[token] !== undefined) {
      const message = `line ${id + 1} repeats the token of line ${vocab[token] + 1}`;
      throw invalidArgument('TOKENIZER_MALFORMED', 'vocab.txt', message);
    }
    vocab[token] = id;
  }
  return wordPieceJson(vocab, { lowercase });
}

/** The part of sentencepiece_model.proto that is read. */
const modelProto = protobuf
  .parse(
    `syntax = "proto2";
    message ModelProto {
      message SentencePiece {
        optional string piece = 1;
        optional float score = 2;
        optional int32 type = 3 [default = 1];
      }
      repeated SentencePiece pieces = 1;
      optional TrainerSpec trainer_spec = 2;
      optional NormalizerSpec normalizer_spec = 3;
    }
    message TrainerSpec {
      optional int32 model_type = 3 [default = 1];
      optional string eos_piece = 47 [default = "</s>"];
    }
    message NormalizerSpec {
      optional string name = 1;
      optional bytes precompiled_charsmap = 2;
      optional bool add_dummy_prefix = 3 [default = true];
    }`,
  )
  .root.lookupType('ModelProto');

interface SentencePieceModel {
  readonly pieces: readonly {
    readonly piece: string;
    readonly score: number;
    readonly type: number;
  }[];
  readonly trainerSpec: { readonly modelType: number; readonly eosPiece: string } | null;
  readonly normalizerSpec: {
    readonly name: string;
    readonly precompiledCharsmap: Uint8Array;
    readonly addDummyPrefix: boolean;
  } | null;
}

const pieceType = { unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;
const unigram = 1;

/**
 * T5's spiece.model. The sentinels `<extra_id_99>` to `<extra_id_0>` follow its pieces, as in
 * transformers' T5 tokenizer. Throws TOKENIZER_MALFORMED, and TOKENIZER_UNSUPPORTED for BPE, byte
 * pieces and texts without a leading space.
 */
export function tokenizerFromSentencePiece(
  bytes: Uint8Array,
  { extraIds = 100 }: { readonly extraIds?: number } = {},
): TokenizerJson {
  const { pieces, trainerSpec, normalizerSpec } = readModel(bytes);
  const named = (type: number) =>
    pieces.filter((piece) => piece.type === type).map(({ piece }) => piece);
  if ((trainerSpec?.modelType ?? unigram) !== unigram)
    throw unsupported('a model other than Unigram');
  if (named(pieceType.byte).length > 0) throw unsupported('byte pieces');
  if (normalizerSpec?.addDummyPrefix === false) throw unsupported('texts without a leading space');
  const [unknown, ...others] = named(pieceType.unknown);
  if (unknown === undefined || others.length > 0) throw malformed('expected one unknown piece');
  const sentinels = Array.from({ length: extraIds }, (_, at) => `<extra_id_${extraIds - 1 - at}>`);
  const json = unigramJson({
    normalizer: normalizerOf(normalizerSpec),
    vocab: [
      ...pieces.map(({ piece, score }) => [piece, score] as const),
      ...sentinels.map((piece) => [piece, 0] as const),
    ],
    unknown,
    end: trainerSpec?.eosPiece ?? '</s>',
    specials: [unknown, ...named(pieceType.control), ...named(pieceType.unused), ...sentinels],
  });
  const userDefined = pieces.flatMap(({ piece, type }, id) =>
    type === pieceType.userDefined ? [{ ...specialToken(piece, id), special: false }] : [],
  );
  const added = [...json.added_tokens, ...userDefined].toSorted((a, b) => a.id - b.id);
  return { ...json, added_tokens: added };
}

function readModel(bytes: Uint8Array): SentencePieceModel {
  let model: SentencePieceModel;
  try {
    // The decoded message has proto2's defaults on its prototype.
    model = modelProto.decode(bytes) as unknown as SentencePieceModel;
  } catch (error) {
    throw malformed('expected a sentencepiece model', error);
  }
  if (model.pieces.length === 0) throw malformed('has no pieces');
  return model;
}

/**
 * The character map is kept for other readers of the file; ours does NFKC and white space, as `nmt_nfkc`
 * does; `_cf` also folds the case.
 */
function normalizerOf(spec: SentencePieceModel['normalizerSpec']): object {
  const map = Buffer.from(spec?.precompiledCharsmap ?? new Uint8Array());
  const steps: object[] = [];
  if (map.length > 0) {
    steps.push({ type: 'Precompiled', precompiled_charsmap: map.toString('base64') });
  }
  if (spec?.name.endsWith('_cf')) steps.push({ type: 'Lowercase' });
  steps.push({ type: 'Replace', pattern: { Regex: ' {2,}' }, content: ' ' });
  return { type: 'Sequence', normalizers: steps };
}

const malformed = (what: string, cause?: unknown) =>
  invalidArgument('TOKENIZER_MALFORMED', 'sentencepiece', what, { cause });

const unsupported = (what: string) =>
  new DomainError(
    'UNIMPLEMENTED',
    'TOKENIZER_UNSUPPORTED',
    `sentencepiece: ${what} cannot be read`,
    {
      field: 'sentencepiece',
    },
  );
