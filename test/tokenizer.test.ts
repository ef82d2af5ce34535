import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import test from 'ava';
import { labelText } from '../lib/text/labels/label-text.ts';
import { joinReport, splitReport } from '../lib/text/report-text.ts';
import {
  loadTokenizer,
  maxCharacters,
  type Tokenizer,
  trainUnigram,
  trainWordPiece,
} from '../lib/text/tokenizer.ts';

const corpus = [
  'FINDINGS: The heart is normal in size. The lungs are clear. IMPRESSION: No acute disease.',
  'FINDINGS: The heart is enlarged. There is a 3.2 cm nodule. IMPRESSION: Cardiomegaly; nodule.',
  'FINDINGS: No pneumothorax, effusion or consolidation. IMPRESSION: No acute disease.',
  'FINDINGS: Small left effusion. Patient’s heart isn’t enlarged. IMPRESSION: Effusion.',
];
const wordPiece = trainWordPiece(corpus, 320);
const unigram = trainUnigram(corpus, 200);
const trained: Readonly<Record<string, Tokenizer>> = {
  WordPiece: loadTokenizer(wordPiece),
  Unigram: loadTokenizer(unigram),
};

/** Texts that a careless caller or an enemy may send. */
const strange: readonly string[] = [
  '',
  ' ',
  '\n\t \u00a0',
  'a',
  '___ XXXX [**Name**]',
  'é ñ Å \u0065\u0301',
  '肺は正常です。',
  '👩‍⚕️🫁 \u{1f9d1}\u{1f3fd}',
  '\ud800 lone \udfff',
  '\u0000\u0001\uffff\ufffd\ufeff',
  '[CLS] [SEP] </s> <pad> <unk> ##s ▁the',
  'مرحبا שלום',
  'x'.repeat(maxCharacters),
  'no '.repeat(20_000),
  '\uffff'.repeat(50_000),
  '##'.repeat(30_000),
];

test('Unigram decodes ASCII text to exactly what was encoded', (t) => {
  const { encode, decode } = trained['Unigram'] as Tokenizer;
  for (const text of [...corpus.map((line) => line.replaceAll('’', "'")), 'Zq@9~ {never seen}!']) {
    t.is(decode(encode(text)), text);
  }
});

test('WordPiece decodes to lower case, with English spacing of punctuation', (t) => {
  const { encode, decode } = trained['WordPiece'] as Tokenizer;
  t.is(decode(encode('The Heart, is ENLARGED.')), 'the heart, is enlarged.');
});

test('words that are frequent are one token', (t) => {
  for (const [name, { encode }] of Object.entries(trained)) {
    t.true(encode('The heart').length <= 2, name);
  }
});

test('a vocabulary has at most the requested size, and no token twice', (t) => {
  t.is(trained['WordPiece']?.vocabularySize, Object.keys(wordPieceVocabulary()).length);
  t.true((trained['WordPiece']?.vocabularySize ?? 0) <= 320);
  t.true((trained['Unigram']?.vocabularySize ?? 0) <= 200);
  t.notThrows(() => loadTokenizer(trainWordPiece(corpus, 100_000)));
  t.notThrows(() => loadTokenizer(trainUnigram([], 200)));
});

function wordPieceVocabulary(): Readonly<Record<string, number>> {
  if (wordPiece.model.type !== 'WordPiece') throw new Error('not a WordPiece file');
  return wordPiece.model.vocab;
}

test('training gives the same file every time', (t) => {
  t.deepEqual(trainWordPiece(corpus, 320), wordPiece);
  t.deepEqual(trainUnigram(corpus, 200), unigram);
});

test('a size that cannot hold every character is refused', (t) => {
  const refused = { code: 'INVALID_ARGUMENT', reason: 'VOCABULARY_SIZE' };
  t.like(
    t.throws(() => trainWordPiece(corpus, 50)),
    refused,
  );
  t.like(
    t.throws(() => trainUnigram(corpus, 50)),
    refused,
  );
  t.like(
    t.throws(() => trainUnigram(corpus, 200.5)),
    refused,
  );
});

test('special tokens have their ids, and their names within a text are only text', (t) => {
  const bert = trained['WordPiece'] as Tokenizer;
  const t5 = trained['Unigram'] as Tokenizer;
  t.deepEqual(['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'].map(bert.idOf), [0, 1, 2, 3, 4]);
  t.deepEqual(['<pad>', '</s>', '<unk>'].map(t5.idOf), [0, 1, 2]);
  t.false(bert.encode('a [SEP] b [CLS]').some((id) => id === 2 || id === 3));
  t.false(t5.encode('a </s> b <pad>').some((id) => id <= 2));
  t.is(t5.decode(t5.encode('a </s> b')), 'a </s> b');
  const unknown = t.throws(() => t5.idOf('[CLS]'));
  t.like(unknown, { code: 'FAILED_PRECONDITION', reason: 'TOKEN_UNKNOWN' });
});

test('special tokens and unknown ids of a larger model have no text', (t) => {
  for (const [name, { encode, decode, vocabularySize }] of Object.entries(trained)) {
    const ids = encode('the heart');
    t.is(decode([0, ...ids, 1, vocabularySize, 1_000_000, -1]).toLowerCase(), 'the heart', name);
    t.is(decode([]), '', name);
  }
});

test('texts are encoded and decoded as the library does with the same file', (t) => {
  const pairs = [
    [wordPiece, trained['WordPiece']],
    [unigram, trained['Unigram']],
  ] as const;
  for (const [json, tokenizer] of pairs) {
    const library = new HuggingFaceTokenizer(json, {});
    for (const text of [...corpus, "The patient's heart? It isn't 3.2 cm, they've said!"]) {
      const { ids } = library.encode(text);
      const ours = tokenizer?.encode(text) ?? [];
      t.deepEqual(ours, json === wordPiece ? ids.slice(1, -1) : ids.slice(0, -1));
      const options = { skip_special_tokens: true, clean_up_tokenization_spaces: false };
      t.is(tokenizer?.decode(ids), library.decode(ids, options));
    }
  }
});

// An encoder that is quadratic in the length would exceed the time limit of the runner.
test('strange and very long texts are encoded to ids of the vocabulary', (t) => {
  for (const [name, { encode, decode, vocabularySize }] of Object.entries(trained)) {
    for (const text of strange) {
      const ids = encode(text);
      const what = `${name}: ${JSON.stringify(text.slice(0, 30))}`;
      t.true(
        ids.every((id) => Number.isInteger(id) && id >= 0 && id < vocabularySize),
        what,
      );
      t.is(typeof decode(ids), 'string', what);
    }
  }
});

test('random texts pass through both tokenizers, streamed as at once', (t) => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  t.log(`seed ${seed}`);
  let state = seed;
  const random = (below: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    return Math.floor((state / 0x8000_0000) * below);
  };
  for (let round = 0; round < 200; round++) {
    const text = Array.from({ length: random(80) }, () =>
      random(3) > 0 ? String.fromCharCode(32 + random(95)) : String.fromCharCode(random(0x1_0000)),
    ).join('');
    for (const { encode, decode, streamDecoder, vocabularySize } of Object.values(trained)) {
      const ids = [...encode(text), ...Array.from({ length: 5 }, () => random(vocabularySize + 9))];
      const decoder = streamDecoder();
      t.is(ids.map(decoder.push).join('') + decoder.end(), decode(ids));
    }
  }
});

test('a stream gives whole words, with the space before them', (t) => {
  const { encode, streamDecoder } = trained['Unigram'] as Tokenizer;
  const decoder = streamDecoder();
  const given = encode('The unexpected nodule.').map(decoder.push);
  t.deepEqual(
    [...given, decoder.end()].filter((text) => text !== ''),
    ['The', ' unexpected', ' nodule.'],
  );
});

test('a text that is too long is refused', (t) => {
  for (const { encode } of Object.values(trained)) {
    const error = t.throws(() => encode('x'.repeat(maxCharacters + 1)));
    t.like(error, { code: 'INVALID_ARGUMENT', reason: 'TEXT_TOO_LONG', field: 'text' });
  }
});

test('a tokenizer is read from its file, and a bad file is named', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'radscribe-tokenizer-'));
  t.teardown(() => rm(root, { recursive: true }));
  const path = join(root, 'tokenizer.json');
  await writeFile(path, JSON.stringify(unigram));
  t.deepEqual(loadTokenizer(path).encode('The heart.'), trained['Unigram']?.encode('The heart.'));
  await writeFile(path, '{');
  t.like(
    t.throws(() => loadTokenizer(path)),
    { reason: 'TOKENIZER_MALFORMED', field: path },
  );
  t.like(
    t.throws(() => loadTokenizer(join(root, 'none.json'))),
    { reason: 'TOKENIZER_MISSING' },
  );
  const wrong: readonly (readonly [object, RegExp])[] = [
    [{ ...unigram, model: { ...unigram.model, unk_id: 1000 } }, /model\.unk_id: 1000/],
    [{ ...unigram, model: { ...unigram.model, byte_fallback: true } }, /model\.byte_fallback/],
    [{ ...wordPiece, model: { ...wordPiece.model, unk_token: '?unk?' } }, /model\.unk_token/],
    [{ ...wordPiece, model: { type: 'BPE', vocab: {}, merges: [] } }, /model\.type/],
    [{ ...wordPiece, decoder: null }, /decoder/],
    [{}, /added_tokens/],
  ];
  for (const [json, message] of wrong) t.throws(() => loadTokenizer(json), { message });
});

test('a report is one text, and two sections again', (t) => {
  const report = { findings: 'Clear lungs.\n No effusion.', impression: 'Normal.' };
  const text = joinReport(report);
  t.is(text, 'FINDINGS: Clear lungs. No effusion. IMPRESSION: Normal.');
  t.deepEqual(splitReport(text), {
    findings: 'Clear lungs. No effusion.',
    impression: 'Normal.',
  });
  t.is(joinReport({ findings: '', impression: 'Normal.' }), 'IMPRESSION: Normal.');
  t.is(joinReport({ findings: ' ', impression: '' }), '');
});

test('an incomplete generated report is split into the sections that it has', (t) => {
  const cases: readonly (readonly [string, string, string])[] = [
    ['', '', ''],
    ['Clear lungs.', 'Clear lungs.', ''],
    ['FINDINGS: Clear', 'Clear', ''],
    ['FINDINGS: Clear. IMPRESSION:', 'Clear.', ''],
    ['IMPRESSION : Normal.', '', 'Normal.'],
    ['FINDINGS: A. IMPRESSION: B. FINDINGS: C. IMPRESSION: D.', 'A. C.', 'B. D.'],
    ['FINDINGS IMPRESSION: The impression: none', 'FINDINGS', 'The impression: none'],
  ];
  for (const [text, findings, impression] of cases) {
    t.deepEqual(splitReport(text), { findings, impression }, text);
  }
});

test('labels are written as text in their order, hedged where uncertain', (t) => {
  const text = labelText({ Edema: 'uncertain', Cardiomegaly: 'positive', Fracture: 'negative' });
  t.is(text, 'cardiomegaly; possible edema');
  t.is(labelText({ 'No Finding': 'positive' }), 'no finding');
  t.is(labelText({ Pneumonia: null }), '');
});
