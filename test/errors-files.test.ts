import { mkdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { findImages } from '../cli/images.ts';
import { checkLine, readLines } from '../cli/json-lines.ts';
import { openForeignWeights } from '../lib/checkpoints/open.ts';
import { matchForeignWeights } from '../lib/checkpoints/match.ts';
import { importVariant } from '../lib/checkpoints/variant.ts';
import { readCsv } from '../lib/data/csv.ts';
import { defineDataset } from '../lib/data/dataset.ts';
import { readDataFile } from '../lib/data/files.ts';
import { openMimic } from '../lib/data/mimic.ts';
import { openReports } from '../lib/data/mimic-reports.ts';
import { startOf, streamStudies } from '../lib/data/stream.ts';
import { openIu } from '../lib/data/iu.ts';
import { decodeImage } from '../lib/image/decode.ts';
import { loadPreset, parsePreset } from '../lib/models/preset.ts';
import { openSafetensors, writeSafetensors } from '../lib/safetensors/safetensors.ts';
import { tokenizerFromSentencePiece } from '../lib/text/tokenizer-import.ts';
import { z } from 'zod';
import { dicomFile, type Elements } from './fixtures/image/dicom-file.ts';
import { attributes } from './fixtures/image/pixels.ts';
import { torchZip } from './support/checkpoints.ts';
import { folder, mimicTables, zip } from './support/datasets.ts';
import { testErrors } from './support/errors.ts';
import { demo, fileOf, folderOf, published, randomTensor } from './support/importing.ts';

/** A chest radiograph without one of its attributes. */
function without(tag: string): Buffer {
  const kept = Object.entries(attributes(8)).filter(([name]) => name !== tag);
  return dicomFile({ ...(Object.fromEntries(kept) as Elements), '7fe00010 OW': pixels });
}
const pixels = new Uint8Array(93 * 70);

/** A JPEG of one hierarchical (DCT) frame, SOF5, as no scanner writes it. */
const hierarchical = Buffer.from('ffd8ffc5000b080046005d01011100ffd9', 'hex');
const jpegBaseline = '1.2.840.10008.1.2.4.50';

testErrors(test, [
  {
    what: 'a DICOM file without Rows',
    reason: 'DICOM_ATTRIBUTE_MISSING',
    code: 'INVALID_ARGUMENT',
    field: 'image',
    provoke: () => decodeImage(without('00280010 US')),
  },
  {
    what: 'a DICOM file without pixels',
    reason: 'DICOM_PIXEL_DATA_MISSING',
    code: 'INVALID_ARGUMENT',
    field: 'image',
    provoke: () => decodeImage(dicomFile(attributes(8))),
  },
  {
    what: 'a DICOM file with a hierarchical JPEG frame',
    reason: 'DICOM_JPEG_PROCESS_UNSUPPORTED',
    code: 'INVALID_ARGUMENT',
    field: 'image',
    provoke: () => decodeImage(dicomFile(attributes(8), jpegBaseline, [hierarchical])),
  },
]);

const header = (json: string, dataBytes: number): Buffer => {
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([prefix, Buffer.from(json), Buffer.alloc(dataBytes)]);
};
const opening =
  (bytes: Buffer) =>
  async (t: ExecutionContext): Promise<unknown> =>
    openSafetensors(await fileOf(t, bytes));
const huge = Buffer.alloc(16);
huge.writeBigUInt64LE(100_000_001n);
const float = { name: 'a', dtype: 'float32', shape: [2], data: Float32Array.of(1, 2) } as const;

testErrors(test, [
  {
    what: 'a .safetensors file that is not there',
    reason: 'FILE_NOT_FOUND',
    code: 'NOT_FOUND',
    field: '/absent/file',
    provoke: () => openSafetensors('/absent/file'),
  },
  {
    what: 'a checkpoint that is not there',
    reason: 'FILE_NOT_FOUND',
    code: 'NOT_FOUND',
    field: '/absent/file',
    provoke: () => openForeignWeights('/absent/file'),
  },
  {
    what: 'a .safetensors header that is no JSON',
    reason: 'SAFETENSORS_HEADER',
    code: 'INVALID_ARGUMENT',
    field: /checkpoint$/,
    provoke: opening(header('{x', 0)),
  },
  {
    what: 'a .safetensors tensor of an unknown dtype',
    reason: 'SAFETENSORS_TENSOR',
    code: 'INVALID_ARGUMENT',
    field: /checkpoint$/,
    provoke: opening(header('{"a":{"dtype":"F4","shape":[1],"data_offsets":[0,4]}}', 4)),
  },
  {
    what: 'a .safetensors header of more than 100 MB',
    reason: 'SAFETENSORS_HEADER_TOO_LARGE',
    code: 'INVALID_ARGUMENT',
    field: /checkpoint$/,
    provoke: opening(huge),
  },
  {
    what: 'a .safetensors file of seven bytes',
    reason: 'SAFETENSORS_TRUNCATED',
    code: 'INVALID_ARGUMENT',
    field: /checkpoint$/,
    provoke: opening(Buffer.alloc(7)),
  },
  {
    what: 'a .safetensors file that shrinks while it is open',
    reason: 'SAFETENSORS_TRUNCATED',
    code: 'DATA_LOSS',
    field: /a\.safetensors$/,
    provoke: async (t) => {
      const path = join(await folderOf(t), 'a.safetensors');
      await writeSafetensors(path, [float]);
      const file = await openSafetensors(path);
      t.teardown(() => file.close());
      await truncate(path, 70);
      await file.read('a');
    },
  },
  {
    what: 'a tensor name that the file lacks',
    reason: 'TENSOR_NOT_FOUND',
    code: 'NOT_FOUND',
    field: 'b',
    provoke: async (t) => {
      const path = join(await folderOf(t), 'a.safetensors');
      await writeSafetensors(path, [float]);
      const file = await openSafetensors(path);
      t.teardown(() => file.close());
      file.info('b');
    },
  },
  {
    what: 'a tensor name that is given twice',
    reason: 'SAFETENSORS_NAME',
    code: 'INVALID_ARGUMENT',
    field: 'tensors',
    provoke: async (t) => writeSafetensors(join(await folderOf(t), 'a'), [float, float]),
  },
  {
    what: 'a tensor of fewer values than its shape',
    reason: 'SAFETENSORS_SIZE',
    code: 'INVALID_ARGUMENT',
    field: 'a',
    provoke: async (t) =>
      writeSafetensors(join(await folderOf(t), 'a'), [{ ...float, shape: [3] }]),
  },
  {
    what: 'an import without a checkpoint',
    reason: 'CHECKPOINT_MISSING',
    code: 'INVALID_ARGUMENT',
    field: 'checkpoints',
    provoke: async (t) =>
      importVariant({
        variant: 'vit',
        preset: demo,
        checkpoints: {},
        seed: 3,
        output: join(await folderOf(t), 'initial.safetensors'),
      }),
  },
  {
    what: 'a T5 whose output matrix differs from its embeddings',
    reason: 'CHECKPOINT_UNTIED',
    code: 'INVALID_ARGUMENT',
    field: /checkpoint$/,
    provoke: async (t) => {
      const state = published('vit', 'decoder');
      const other = randomTensor(state.get('shared.weight')?.shape ?? []);
      const decoder = await fileOf(t, torchZip(state.set('lm_head.weight', other)));
      const output = join(await folderOf(t), 'initial.safetensors');
      await importVariant({
        variant: 'vit',
        preset: demo,
        checkpoints: { decoder },
        seed: 3,
        output,
      });
    },
  },
  {
    what: 'reading a parameter that the checkpoint does not give',
    reason: 'TENSOR_NOT_MATCHED',
    code: 'INVALID_ARGUMENT',
    field: 'vision.fc.weight',
    provoke: async (t) => {
      const state = new Map([['conv1.weight', randomTensor([3, 2])]]);
      const checkpoint = await openForeignWeights(await fileOf(t, torchZip(state)));
      t.teardown(() => checkpoint.close());
      const spec = { name: 'vision.conv1.weight', shape: [3, 2] } as never;
      await matchForeignWeights([spec], checkpoint, 'resnet', 'vision.').read('vision.fc.weight');
    },
  },
  {
    what: 'a preset that is neither a name nor a file',
    reason: 'PRESET_NOT_FOUND',
    code: 'NOT_FOUND',
    field: 'preset',
    provoke: () => loadPreset('/absent/preset.json'),
  },
  {
    what: 'a preset with more heads than fit its width',
    reason: 'PRESET_INVALID',
    code: 'INVALID_ARGUMENT',
    field: 'preset.vit.heads',
    provoke: () => parsePreset({ ...demo, vit: { ...demo.vit, heads: demo.vit.hidden - 1 } }),
  },
  {
    what: 'a sentencepiece model of another kind than Unigram',
    reason: 'TOKENIZER_UNSUPPORTED',
    code: 'UNIMPLEMENTED',
    field: 'sentencepiece',
    // pieces: [{ piece: 'a' }], trainer_spec: { model_type: 2 }.
    provoke: () =>
      tokenizerFromSentencePiece(Buffer.from('0a030a0161120218 02'.replace(' ', ''), 'hex')),
  },
]);

const csv = (text: string) => async (t: ExecutionContext) =>
  Array.fromAsync(readCsv(await folder(t, { 'a.csv': text }), 'a.csv', ['one', 'two']));
const empty = defineDataset({
  name: 'two studies',
  records: ['s1', 's2'].map((id) => ({ id, split: 'train', images: [], facts: '' }) as const),
  leftOut: {},
  report: () => Promise.reject(new Error('not read')),
  image: () => Promise.reject(new Error('not read')),
});
const streaming = (position: object, options: object) => async () =>
  Array.fromAsync(
    streamStudies(
      empty,
      { ...startOf(empty, 'train'), ...position },
      { load: () => 0, ...options },
    ),
  );

testErrors(test, [
  {
    what: 'a table without one of its columns',
    reason: 'CSV_MALFORMED',
    code: 'INVALID_ARGUMENT',
    field: 'a.csv:1',
    provoke: csv('one,three\n1,3\n'),
  },
  {
    what: 'a folder in place of a data file',
    reason: 'FILE_UNREADABLE',
    code: 'DATA_LOSS',
    field: 'reports',
    provoke: async (t) => {
      const root = await folder(t, {});
      await mkdir(join(root, 'reports'));
      await readDataFile(root, 'reports');
    },
  },
  {
    what: 'an archive of reports that is cut short',
    reason: 'ARCHIVE_DAMAGED',
    code: 'DATA_LOSS',
    field: 'reports.zip',
    provoke: async (t) => {
      const bytes = zip({ 'files/p10/p1/s1.txt': 'FINDINGS: none.' });
      const root = await folder(t, { 'reports.zip': bytes.subarray(0, -9) });
      await openReports(root, join(root, 'reports.zip'), () => true);
    },
  },
  {
    what: 'a position of another dataset',
    reason: 'POSITION_MISMATCH',
    code: 'FAILED_PRECONDITION',
    field: 'position',
    provoke: streaming({ fingerprint: 'another' }, {}),
  },
  {
    what: 'a prefetch of no study',
    reason: 'PREFETCH_RANGE',
    code: 'INVALID_ARGUMENT',
    field: 'prefetch',
    provoke: streaming({}, { prefetch: 0 }),
  },
  {
    what: 'a subset larger than its split',
    reason: 'SUBSET_TOO_LARGE',
    code: 'INVALID_ARGUMENT',
    field: 'subset.train',
    provoke: async (t) => openMimic(await folder(t, mimicTables([])), { subset: { train: 1 } }),
  },
  {
    what: 'a report that is no XML',
    reason: 'XML_DAMAGED',
    code: 'DATA_LOSS',
    field: 'ecgen-radiology/1.xml',
    provoke: async (t) => {
      const root = await folder(t, {
        'ecgen-radiology/1.xml': '<eCitation>',
        'images/none': '',
      });
      const dataset = await openIu(root);
      for (const record of Object.values(dataset.splits).flat()) await dataset.read(record);
    },
  },
  {
    what: 'a folder without an image',
    reason: 'NO_IMAGES',
    code: 'INVALID_ARGUMENT',
    field: /^\//,
    provoke: async (t) => findImages([await folder(t, { 'notes.txt': 'none' })]),
  },
  {
    what: 'a line that is no JSON',
    reason: 'LINE_MALFORMED',
    code: 'INVALID_ARGUMENT',
    field: /a\.jsonl, line 2$/,
    provoke: async (t) => {
      const root = await folder(t, { 'a.jsonl': '{"id": 1}\nFINDINGS: none.\n' });
      await Array.fromAsync(readLines(join(root, 'a.jsonl')));
    },
  },
  {
    what: 'a line that lacks a field',
    reason: 'LINE_MALFORMED',
    code: 'INVALID_ARGUMENT',
    field: 'a.jsonl, line 3',
    provoke: () =>
      checkLine({ place: 'a.jsonl, line 3', value: {} }, z.strictObject({ id: z.string() })),
  },
]);

test('a preset file that is no JSON is named', async (t) => {
  const path = join(await folderOf(t), 'preset.json');
  await writeFile(path, '{');
  t.like(
    t.throws(() => loadPreset(path)),
    { reason: 'PRESET_INVALID', field: path },
  );
});
