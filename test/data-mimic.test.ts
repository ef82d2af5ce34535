import { rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import test from 'ava';
import type { Dataset, SplitName, Study } from '../lib/data/dataset.ts';
import { inspectDataset } from '../lib/data/inspect.ts';
import { type MimicOptions, openMimic } from '../lib/data/mimic.ts';
import { startOf, streamStudies } from '../lib/data/stream.ts';
import {
  folder,
  mimicFiles,
  mimicPath,
  mimicReport,
  mimicTables,
  type MimicStudy,
  zip,
} from './support/datasets.ts';

/** Image ids as MIMIC writes them. */
const dicom = (number: number) => `${number}`.padStart(8, '0').concat('-6e3a4b1c-8d9e0f2a');

const studies: readonly MimicStudy[] = [
  {
    subject: 10_000_032,
    study: 50_414_267,
    split: 'train',
    images: [
      { dicom: dicom(3), view: 'LATERAL' },
      { dicom: dicom(2), view: 'PA' },
      { dicom: dicom(1), view: 'PA' },
    ],
    labels: { Cardiomegaly: '1.0', Edema: '-1.0', 'Pleural Effusion': '0.0' },
    report: mimicReport('There is mild cardiomegaly.'),
  },
  {
    subject: 10_000_764,
    study: 57_375_967,
    split: 'train',
    images: [{ dicom: dicom(4), view: 'AP' }],
    labels: { 'Support Devices': '1.0' },
    report: mimicReport('Lines are in place.'),
  },
  {
    subject: 10_000_898,
    study: 50_771_383,
    split: 'train',
    images: [{ dicom: dicom(5), view: 'PA' }],
    report: mimicReport('There is a fracture.'),
  },
  {
    subject: 11_000_011,
    study: 51_029_426,
    split: 'validate',
    images: [
      { dicom: dicom(6), view: 'PA' },
      { dicom: dicom(7), view: 'LL' },
    ],
    labels: { 'No Finding': '1.0' },
    report: mimicReport('The lungs are clear.'),
  },
  {
    subject: 19_999_987,
    study: 58_621_812,
    split: 'test',
    images: [
      { dicom: dicom(9), view: '' },
      { dicom: dicom(8), view: 'PA' },
    ],
    labels: { 'No Finding': '1.0' },
    report: mimicReport('The lungs are clear.'),
  },
];
const [first] = studies as readonly [MimicStudy, ...MimicStudy[]];

/** `count` studies that differ only in their numbers, each with one PA image. */
function many(count: number, split: SplitName = 'train', offset = 0): MimicStudy[] {
  return Array.from({ length: count }, (_, index) => ({
    ...first,
    study: first.study + offset + index,
    split,
    images: [{ dicom: dicom(100 + offset + index), view: 'PA' }],
  }));
}

async function read(dataset: Dataset, split: SplitName): Promise<Study[]> {
  const found: Study[] = [];
  const load = (study: Study) => study;
  for await (const { value } of streamStudies(dataset, startOf(dataset, split), { load }))
    found.push(value);
  return found;
}

const ids = (dataset: Dataset, split: SplitName) => dataset.splits[split].map(({ id }) => id);

test('the published splits are kept, and a study is its PA image', async (t) => {
  const dataset = await openMimic(await folder(t, await mimicFiles(studies)));
  t.deepEqual(ids(dataset, 'train'), ['s50414267', 's50771383']);
  t.deepEqual(ids(dataset, 'validate'), ['s51029426']);
  t.deepEqual(ids(dataset, 'test'), ['s58621812']);
  t.deepEqual(dataset.leftOut, { 'no PA image': 1 });
  const [study] = await read(dataset, 'train');
  t.is(study?.view, 'PA');
  // Of two PA images, the first by name.
  t.deepEqual(
    study?.images.map(({ name }) => name),
    [`files/p10/p10000032/s50414267/${dicom(1)}.jpg`],
  );
  t.is(study?.findings, 'There is mild cardiomegaly.');
  t.is(study?.impression, 'No acute cardiopulmonary process.');
  const decoded = await study?.images[0].decode();
  t.deepEqual([decoded?.width, decoded?.height], [24, 20]);
});

test('all views means every image of every study, frontal ones first', async (t) => {
  const root = await folder(t, await mimicFiles(studies));
  const dataset = await openMimic(root, { views: 'all' });
  t.is(dataset.splits.train.length, 3);
  const views = Object.values(dataset.splits)
    .flat()
    .map(({ images }) => images.map(({ view }) => view));
  t.deepEqual(views, [['PA', 'PA', 'LATERAL'], ['PA'], ['AP'], ['PA', 'LATERAL'], ['PA', null]]);
});

test('labels are the given ones, or else extracted where the table has no row or none is wanted', async (t) => {
  const root = await folder(t, await mimicFiles(studies));
  const labelsOf = async (labels: NonNullable<MimicOptions['labels']>) => {
    const dataset = await openMimic(root, { labels });
    return (await read(dataset, 'train')).map((study) => [study.labelsFrom, study.labels] as const);
  };
  const [[from, labels] = [], [otherFrom, otherLabels] = []] = await labelsOf('chexpert');
  t.is(from, 'given');
  t.like(labels, { Cardiomegaly: 'positive', Edema: 'uncertain', 'Pleural Effusion': 'negative' });
  t.is(labels?.Fracture, null);
  t.is(otherFrom, 'extracted');
  t.is(otherLabels?.Fracture, 'positive');
  const [[, negbio] = []] = await labelsOf('negbio');
  t.is(negbio?.Edema, 'negative');
  const [[extractedFrom, extracted] = []] = await labelsOf('extracted');
  t.is(extractedFrom, 'extracted');
  t.is(extracted?.Cardiomegaly, 'positive');
});

test('reports are read from the archive, from its folder, or from the given path', async (t) => {
  const reports = Object.fromEntries(
    studies.map((study) => [`${mimicPath(study)}.txt`, study.report]),
  );
  const below = (prefix: string) =>
    Object.fromEntries(Object.entries(reports).map(([name, text]) => [`${prefix}/${name}`, text]));
  const elsewhere = await folder(t, { ...reports, 'reports.zip': zip(below('mimic-cxr-reports')) });
  const layouts: readonly [Readonly<Record<string, string | Uint8Array>>, MimicOptions][] = [
    [{ 'mimic-cxr-reports.zip': zip(reports) }, {}],
    [below('mimic-cxr-reports'), {}],
    [reports, {}],
    [{}, { reports: elsewhere }],
    [{}, { reports: join(elsewhere, 'reports.zip') }],
  ];
  const fingerprints = new Set<string>();
  for (const [files, options] of layouts) {
    const root = await folder(t, { ...mimicTables(studies), ...files });
    const dataset = await openMimic(root, options);
    const [study] = await read(dataset, 'train');
    t.is(study?.findings, 'There is mild cardiomegaly.');
    fingerprints.add(dataset.fingerprint);
    await dataset.close();
  }
  t.is(fingerprints.size, 1);
});

test('a damaged archive is refused, and a damaged report in a whole one is corrupt', async (t) => {
  const reports = { [`${mimicPath(first)}.txt`]: first.report };
  const tables = mimicTables([first]);
  const noArchive = await folder(t, { ...tables, 'mimic-cxr-reports.zip': 'no archive' });
  await t.throwsAsync(openMimic(noArchive), {
    code: 'DATA_LOSS',
    message: 'mimic-cxr-reports.zip: it is not a whole ZIP archive',
  });
  const archive = zip(reports);
  archive.fill(0xff, 80, 110);
  const dataset = await openMimic(await folder(t, { ...tables, 'mimic-cxr-reports.zip': archive }));
  const { train } = (await inspectDataset(dataset, { decode: false })).splits;
  await dataset.close();
  t.deepEqual(
    train.skipped.map(({ kind, message }) => [kind, message]),
    [['corrupt', 'mimic-cxr-reports.zip: files/p10/p10000032/s50414267.txt cannot be unpacked']],
  );
});

test('a subset is drawn from each split by its seed, and a smaller one is part of a larger one', async (t) => {
  const root = await folder(t, mimicTables([...many(40), ...many(9, 'test', 40)]));
  const drawn = async (train: number, seed: number) =>
    ids(await openMimic(root, { subset: { train }, seed }), 'train');
  const ten = await drawn(10, 1);
  t.is(ten.length, 10);
  t.deepEqual(await drawn(10, 1), ten);
  t.notDeepEqual(await drawn(10, 2), ten);
  const twenty = await drawn(20, 1);
  t.true(ten.every((id) => twenty.includes(id)));
  const dataset = await openMimic(root, { subset: { train: 10 }, seed: 1 });
  t.deepEqual(dataset.leftOut, { 'not drawn into the subset': 30 });
  t.is(dataset.splits.test.length, 9);
  t.not(dataset.fingerprint, (await openMimic(root, { subset: { train: 10 } })).fingerprint);
});

test('a subset larger than its split is refused with both numbers', async (t) => {
  const root = await folder(t, mimicTables(many(4)));
  await t.throwsAsync(openMimic(root, { subset: { train: 5 } }), {
    message:
      'subset.train: expected at most 4 studies, which are those of the split that can be used; got 5',
  });
});

test('missing, corrupt and empty studies are told apart', async (t) => {
  const some = many(6);
  const root = await folder(t, await mimicFiles(some));
  const path = (index: number) => mimicPath(some[index] as MimicStudy);
  await rm(join(root, `${path(0)}.txt`));
  await rm(join(root, `${path(1)}/${dicom(101)}.jpg`));
  await truncate(join(root, `${path(2)}/${dicom(102)}.jpg`), 90);
  await writeFile(join(root, `${path(3)}/${dicom(103)}.jpg`), '<html>not an image</html>');
  await writeFile(
    join(root, `${path(4)}.txt`),
    'FINAL REPORT\n INDICATION:  cough.\n FINDINGS:\n IMPRESSION:\n',
  );
  const { train } = (await inspectDataset(await openMimic(root), { decode: true })).splits;
  t.is(train.studies, 6);
  t.is(train.usable, 1);
  t.is(train.empty, 1);
  t.deepEqual(
    train.skipped.map(({ id, kind }) => [id, kind]),
    [
      ['s50414267', 'missing'],
      ['s50414268', 'missing'],
      ['s50414269', 'corrupt'],
      ['s50414270', 'corrupt'],
    ],
  );
  t.is(train.skipped[0]?.message, 'files/p10/p10000032/s50414267.txt: no such file');
  for (const { message } of train.skipped) t.regex(message, /^files\/p10\/p10000032\/s504142/);
});

test('tables are read unpacked too', async (t) => {
  const root = await folder(t, {
    'mimic-cxr-2.0.0-metadata.csv':
      'dicom_id,subject_id,study_id,ViewPosition,Rows,Columns\r\na-b,10000032,50414267,PA,20,24\r\n',
    'mimic-cxr-2.0.0-split.csv':
      'dicom_id,study_id,subject_id,split\na-b,50414267,10000032,train\n',
  });
  t.deepEqual(ids(await openMimic(root, { labels: 'extracted' }), 'train'), ['s50414267']);
});

test('a missing table is reported by its published name', async (t) => {
  const root = await folder(t, {});
  await t.throwsAsync(openMimic(root), {
    code: 'NOT_FOUND',
    message: 'mimic-cxr-2.0.0-metadata.csv.gz or mimic-cxr-2.0.0-metadata.csv: no such file',
  });
});

const header = 'dicom_id,subject_id,study_id,ViewPosition,Rows,Columns';
const row = 'a-b,10000032,50414267,PA,20,24';
for (const [what, text, message] of [
  ['a row that is too short', `${header}\n${row}\na-c,10000032\n`, /metadata\.csv\.gz:3: .*got 2/],
  [
    'a quote that never ends',
    `${header}\n${row}\n"a-c,1`,
    /metadata\.csv\.gz:\d: Quote Not Closed/,
  ],
  [
    'a column that is not there',
    'dicom_id,subject_id\na,1\n',
    /csv\.gz:1: the header lacks study_id, ViewPosition, Rows, Columns/,
  ],
  ['no content', '', /csv\.gz:1: the header lacks dicom_id/],
  [
    'a study id that is no number',
    `${header}\n${row.replace('50414267', '../x')}\n`,
    /csv\.gz:2: study_id is not a number/,
  ],
  [
    'an image id that leaves the folder',
    `${header}\n../${row}\n`,
    /csv\.gz:2: dicom_id is not a file name/,
  ],
] as const) {
  test(`a table with ${what} is refused with file and line`, async (t) => {
    const root = await folder(t, { 'mimic-cxr-2.0.0-metadata.csv.gz': gzipSync(text) });
    await t.throwsAsync(openMimic(root), { code: 'INVALID_ARGUMENT', message });
  });
}

test('a table whose compressed data end early, or are not compressed, is refused', async (t) => {
  const whole = mimicTables(many(50))['mimic-cxr-2.0.0-metadata.csv.gz'] as Uint8Array;
  for (const damaged of [whole.subarray(0, whole.length - 40), 'dicom_id']) {
    const root = await folder(t, { 'mimic-cxr-2.0.0-metadata.csv.gz': damaged });
    await t.throwsAsync(openMimic(root), { message: /csv\.gz:\d+: the gzip stream is damaged/ });
  }
});

test('an unknown split or label is refused with file and line', async (t) => {
  const tables = mimicTables([first]);
  const split = gzipSync('dicom_id,study_id,subject_id,split\na,50414267,10000032,holdout\n');
  await t.throwsAsync(
    openMimic(await folder(t, { ...tables, 'mimic-cxr-2.0.0-split.csv.gz': split })),
    { message: 'mimic-cxr-2.0.0-split.csv.gz:2: split is none of train, validate, test' },
  );
  const wrong = mimicTables([{ ...first, labels: { Edema: '2.0' } }]);
  await t.throwsAsync(openMimic(await folder(t, wrong)), {
    message: 'mimic-cxr-2.0.0-chexpert.csv.gz:2: Edema is none of 1.0, 0.0, -1.0 and empty',
  });
});
