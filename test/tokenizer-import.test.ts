import { readFileSync } from 'node:fs';
import test from 'ava';
import protobuf from 'protobufjs';
import { loadTokenizer } from '../lib/text/tokenizer.ts';
import {
  tokenizerFromSentencePiece,
  tokenizerFromVocabulary,
} from '../lib/text/tokenizer-import.ts';

const vocabulary = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'heart', 'the', '##s', '.', 'é'];

test('a vocabulary of BERT gives the ids of its lines', (t) => {
  for (const end of ['', '\n', '\r\n']) {
    const text = vocabulary.join(end === '\r\n' ? end : '\n') + end;
    const tokenizer = loadTokenizer(tokenizerFromVocabulary(text, { lowercase: true }));
    t.is(tokenizer.vocabularySize, vocabulary.length);
    t.deepEqual(tokenizer.encode('The hearts, heart.'), [6, 5, 7, 1, 5, 8]);
    t.is(tokenizer.idOf('[SEP]'), 3);
  }
  const cased = loadTokenizer(tokenizerFromVocabulary(vocabulary.join('\n'), { lowercase: false }));
  t.deepEqual(cased.encode('The heart'), [1, 5]);
});

test('a vocabulary that lacks a special token or repeats one is refused', (t) => {
  const refused = (text: string) =>
    t.throws(() => tokenizerFromVocabulary(text, { lowercase: true }))?.message ?? '';
  t.regex(refused(vocabulary.slice(1).join('\n')), /lacks \[PAD\]/);
  t.regex(refused([...vocabulary, 'the'].join('\n')), /line 11 repeats the token of line 7/);
  t.regex(refused(''), /lacks/);
});

/** As sentencepiece_model.proto numbers them. */
const model = protobuf
  .parse(`
  syntax = "proto2";
  message TrainerSpec { optional int32 model_type = 3; optional string eos_piece = 47; }
  message NormalizerSpec {
    optional string name = 1; optional bytes charsmap = 2; optional bool prefix = 3;
    optional bool remove_extra_whitespaces = 4;
  }
  message Piece { optional string piece = 1; optional float score = 2; optional int32 type = 3; }
  message ModelProto {
    repeated Piece pieces = 1; optional TrainerSpec trainer_spec = 2;
    optional NormalizerSpec normalizer_spec = 3;
  }
`)
  .root.lookupType('ModelProto');

const pieces = [
  { piece: '<pad>', score: 0, type: 3 },
  { piece: '</s>', score: 0, type: 3 },
  { piece: '<unk>', score: 0, type: 2 },
  { piece: '▁', score: -3 },
  { piece: '▁the', score: -2 },
  { piece: '▁heart', score: -2.5 },
  { piece: 's', score: -3.5 },
  { piece: '▁hearts', score: -9 },
  { piece: '.', score: -3 },
  { piece: 'XRAY', score: 0, type: 4 },
];
const normalizerSpec = { name: 'nmt_nfkc', charsmap: Buffer.from([1, 2, 3]), prefix: true };
const encode = (message: object) => model.encode(model.create(message)).finish();

test('a sentencepiece model of T5 keeps its ids, and has the sentinels after them', (t) => {
  const json = tokenizerFromSentencePiece(encode({ pieces, normalizerSpec }));
  const tokenizer = loadTokenizer(json);
  t.is(tokenizer.vocabularySize, 110);
  t.is(tokenizer.idOf('<extra_id_0>'), 109);
  t.is(tokenizer.idOf('<extra_id_99>'), 10);
  // "▁heart" + "s" is more probable than "▁hearts".
  t.deepEqual(tokenizer.encode('the  hearts.\nthe'), [4, 5, 6, 8, 4]);
  t.is(tokenizer.decode([4, 5, 6, 8, 1, 0, 109]), 'the hearts.');
  t.deepEqual(tokenizer.encode('ｔｈｅ'), [4]);
  t.deepEqual(tokenizer.encode('the </s>').includes(1), false);
  t.true(tokenizer.encode('the XRAY').includes(9));
  t.is(
    loadTokenizer(tokenizerFromSentencePiece(encode({ pieces }), { extraIds: 0 })).vocabularySize,
    10,
  );
});

test('a model that folds the case is read as one that does', (t) => {
  const folded = { ...normalizerSpec, name: 'nmt_nfkc_cf' };
  const bytes = encode({ pieces, normalizerSpec: folded });
  t.deepEqual(loadTokenizer(tokenizerFromSentencePiece(bytes)).encode('The HEART'), [4, 5]);
});

test('a sentencepiece model that T5 cannot use is refused with the reason', (t) => {
  const cases: readonly (readonly [object, RegExp])[] = [
    [{ pieces, trainerSpec: { modelType: 2 } }, /a model other than Unigram cannot be read/],
    [{ pieces: [...pieces, { piece: '<0x0A>', type: 6 }] }, /byte pieces/],
    [{ pieces, normalizerSpec: { ...normalizerSpec, prefix: false } }, /without a leading space/],
    [{ pieces: pieces.filter(({ type }) => type !== 2) }, /expected one unknown piece/],
    [{ pieces: pieces.slice(2) }, /lacks <\/s>/],
    [{}, /has no pieces/],
  ];
  for (const [message, expected] of cases) {
    const error = t.throws(
      () => tokenizerFromSentencePiece(encode(message)),
      undefined,
      expected.source,
    );
    t.regex(error?.message ?? '', expected);
  }
  for (const bytes of [Buffer.from('{"model": {}}'), encode({ pieces }).subarray(0, 50)]) {
    t.like(
      t.throws(() => tokenizerFromSentencePiece(bytes)),
      { reason: 'TOKENIZER_MALFORMED' },
    );
  }
});

interface Reference {
  readonly texts: readonly string[];
  readonly wordPiece: ReferenceFile;
  readonly unigram: ReferenceFile;
  readonly sentencePiece: { readonly model: string; readonly ids: readonly (readonly number[])[] };
}

interface ReferenceFile {
  readonly tokenizer: object;
  readonly ids: readonly (readonly number[])[];
  readonly decoded: readonly string[];
}

const reference = JSON.parse(
  readFileSync(new URL('fixtures/tokenizers-reference.json', import.meta.url), 'utf8'),
) as Reference;

test('ids and texts are those of the tokenizers library', (t) => {
  for (const name of ['wordPiece', 'unigram'] as const) {
    const { tokenizer: json, ids, decoded } = reference[name];
    const tokenizer = loadTokenizer(json);
    for (const [at, text] of reference.texts.entries()) {
      t.deepEqual(tokenizer.encode(text), ids[at], `${name}: ${text}`);
      t.is(tokenizer.decode(ids[at] ?? []), decoded[at] ?? '', `${name}: ${text}`);
    }
  }
});

test('a converted sentencepiece model gives the ids of sentencepiece', (t) => {
  const { model: bytes, ids } = reference.sentencePiece;
  const tokenizer = loadTokenizer(tokenizerFromSentencePiece(Buffer.from(bytes, 'base64')));
  for (const [at, text] of reference.texts.entries()) {
    t.deepEqual(tokenizer.encode(text), ids[at], text);
  }
});
