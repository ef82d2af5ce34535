import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { type Dataset, splitNames, type Study } from '../lib/data/dataset.ts';
import { inspectDataset } from '../lib/data/inspect.ts';
import { openIu } from '../lib/data/iu.ts';
import { startOf, streamStudies } from '../lib/data/stream.ts';
import { encodedImage, folder } from './support/datasets.ts';

interface Report {
  readonly uid: number;
  readonly indication: string;
  readonly findings: string;
  readonly impression: string;
  /** By name; the tables know their projection. */
  readonly views: Readonly<Record<string, 'Frontal' | 'Lateral'>>;
}

const reports: readonly Report[] = [
  {
    uid: 1,
    indication: 'Positive TB test',
    findings: 'The heart is < 50% of the thorax & normal, "clear" lungs.',
    impression: 'Normal chest x-XXXX.',
    views: { '1_IM-0001-3001': 'Lateral', '1_IM-0001-4001': 'Frontal' },
  },
  {
    uid: 2,
    indication: '',
    findings: '',
    impression: 'Cardiomegaly.',
    views: { '2_IM-0652-1001': 'Frontal', '2_IM-0652-2001': 'Lateral' },
  },
  {
    uid: 3,
    indication: 'rib pain',
    findings: 'No displaced rib fractures.',
    impression: '',
    views: { '3_IM-1384-2001': 'Lateral' },
  },
  {
    uid: 4,
    indication: 'cough',
    findings: '',
    impression: '',
    views: { '4_IM-2050-1001': 'Frontal' },
  },
  { uid: 5, indication: 'cough', findings: 'Clear lungs.', impression: 'Normal.', views: {} },
];

/** `count` reports that differ only in their numbers. */
function many(count: number): Report[] {
  const [, like] = reports as readonly [Report, Report];
  return Array.from({ length: count }, (_, index) => {
    const views = { [`${index + 1}_IM-0001-1001`]: 'Frontal' } as const;
    return { ...like, uid: index + 1, views };
  });
}

type Files = Record<string, string | Uint8Array>;

async function imageFiles(
  all: readonly Report[],
  nameOf: (image: string) => string,
): Promise<Files> {
  const names = all.flatMap(({ views }) => Object.keys(views));
  const content = await encodedImage('png', 90);
  return Object.fromEntries(names.map((name) => [nameOf(name), content]));
}

const quoted = (cells: readonly unknown[]) =>
  cells.map((cell) => `"${String(cell).replaceAll('"', '""')}"`).join(',');

function projections(all: readonly Report[]): string {
  const rows = all.flatMap(({ uid, views }) =>
    Object.entries(views).map(([name, view]) => `${uid},${name}.dcm.png,${view}`),
  );
  return `${['uid,filename,projection', ...rows].join('\n')}\n`;
}

async function tables(all: readonly Report[]): Promise<Files> {
  const rows = all.map(({ uid, indication, findings, impression }) =>
    quoted([
      uid,
      'normal',
      'normal',
      'Xray Chest PA and Lateral',
      indication,
      'None.',
      findings,
      impression,
    ]),
  );
  const header = 'uid,MeSH,Problems,image,indication,comparison,findings,impression';
  return {
    'indiana_reports.csv': `${[header, ...rows].join('\n')}\n`,
    'indiana_projections.csv': projections(all),
    ...(await imageFiles(all, (name) => `images/images_normalized/${name}.dcm.png`)),
  };
}

const escaped = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

function xml({ uid, indication, findings, impression, views }: Report): string {
  const sections = {
    COMPARISON: 'None.',
    INDICATION: indication,
    FINDINGS: findings,
    IMPRESSION: impression,
  };
  const texts = Object.entries(sections).map(([label, text]) =>
    text
      ? `<AbstractText Label="${label}">${escaped(text)}</AbstractText>`
      : `<AbstractText Label="${label}"/>`,
  );
  const images = Object.keys(views).map(
    (name) => `   <parentImage id="CXR${name}">
      <figureId>F1</figureId>
      <caption>Xray Chest PA and Lateral</caption>
      <panel type="single"><url>/extract/CXR${name}.jpg</url><imgModality>7</imgModality></panel>
   </parentImage>`,
  );
  return `<?xml version="1.0" encoding="utf-8"?>
<eCitation>
   <meta type="rr"/>
   <uId id="CXR${uid}"/>
   <pmcId id="${uid}"/>
   <docSource>CXR</docSource>
   <MedlineCitation Status="supplied by Indiana University">
      <Article PubModel="Electronic">
         <Abstract>
            ${texts.join('\n            ')}
         </Abstract>
      </Article>
   </MedlineCitation>
   <MeSH>
      <major>normal</major>
   </MeSH>
${images.join('\n')}
</eCitation>
`;
}

async function xmlFiles(all: readonly Report[]): Promise<Files> {
  const files = all.map((report) => [`ecgen-radiology/${report.uid}.xml`, xml(report)]);
  return {
    ...Object.fromEntries(files),
    ...(await imageFiles(all, (name) => `NLMCXR_png/CXR${name}.png`)),
  };
}

async function read(dataset: Dataset): Promise<Study[]> {
  const found: Study[] = [];
  const load = (study: Study) => study;
  for (const split of splitNames) {
    for await (const { value } of streamStudies(dataset, startOf(dataset, split), { load }))
      found.push(value);
  }
  return found.sort((a, b) => a.id.localeCompare(b.id));
}

test('the tables give sections, the frontal image, and why a study is left out', async (t) => {
  const dataset = await openIu(await folder(t, await tables(reports)));
  const [study, other, ...more] = await read(dataset);
  t.is(more.length, 0);
  t.like(study, {
    id: '1',
    view: 'FRONTAL',
    indication: 'Positive TB test',
    findings: 'The heart is < 50% of the thorax & normal, "clear" lungs.',
    impression: 'Normal chest x-XXXX.',
    labelsFrom: 'extracted',
  });
  t.deepEqual(
    study?.images.map(({ name }) => name),
    ['images/images_normalized/1_IM-0001-4001.dcm.png'],
  );
  t.is((await study?.images[0].decode())?.width, 24);
  t.is(other?.labels.Cardiomegaly, 'positive');
  t.deepEqual(dataset.leftOut, {
    'no frontal image': 1,
    'neither findings nor impression': 1,
    'no image': 1,
  });
});

test('all views keeps the lateral images, after the frontal ones', async (t) => {
  const dataset = await openIu(await folder(t, await tables(reports)), { views: 'all' });
  t.deepEqual(
    (await read(dataset)).map(({ images }) => images.map(({ view }) => view)),
    [['FRONTAL', 'LATERAL'], ['FRONTAL', 'LATERAL'], ['LATERAL']],
  );
});

test('the XML files give the same studies, sections and splits as the tables', async (t) => {
  const root = await folder(t, {
    ...(await xmlFiles(reports)),
    'indiana_projections.csv': projections(reports),
  });
  const told = async (dataset: Dataset) =>
    (await read(dataset)).map(({ id, split, view, findings, impression, indication }) => {
      return { id, split, view, findings, impression, indication };
    });
  const dataset = await openIu(root);
  const fromTables = await openIu(await folder(t, await tables(reports)));
  t.deepEqual(await told(dataset), await told(fromTables));
  t.deepEqual(dataset.leftOut, fromTables.leftOut);
  const [study] = await read(dataset);
  t.is(study?.images[0].name, 'NLMCXR_png/CXR1_IM-0001-4001.png');
  t.is((await study?.images[0].decode())?.height, 20);
});

test('XML files without projections leave the view unknown and take the first image', async (t) => {
  const dataset = await openIu(await folder(t, await xmlFiles(reports)));
  const studies = await read(dataset);
  t.deepEqual(
    studies.map(({ view, images }) => [view, images[0].name]),
    [
      [null, 'NLMCXR_png/CXR1_IM-0001-3001.png'],
      [null, 'NLMCXR_png/CXR2_IM-0652-1001.png'],
      [null, 'NLMCXR_png/CXR3_IM-1384-2001.png'],
    ],
  );
});

test('the split follows the seed, is about 7:1:2, and keeps a study where it is when others go', async (t) => {
  const splitsOf = async (count: number, seed: number) => {
    const dataset = await openIu(await folder(t, await xmlFilesOnly(count)), { seed });
    return splitNames.map((split) => dataset.splits[split].map(({ id }) => id));
  };
  const whole = await splitsOf(300, 1);
  t.deepEqual(await splitsOf(300, 1), whole);
  t.notDeepEqual(await splitsOf(300, 2), whole);
  const [train = [], validate = [], test = []] = whole;
  t.true(Math.abs(train.length - 210) < 30, `train: ${train.length} of 300`);
  t.true(Math.abs(validate.length - 30) < 20, `validate: ${validate.length} of 300`);
  t.true(Math.abs(test.length - 60) < 30, `test: ${test.length} of 300`);
  const half = await splitsOf(150, 1);
  for (const [at, ids] of half.entries()) t.true(ids.every((id) => whole[at]?.includes(id)));
});

async function xmlFilesOnly(count: number): Promise<Files> {
  return { ...(await xmlFiles(many(count))) };
}

test('damaged XML files and missing images are skipped and named', async (t) => {
  const root = await folder(t, {
    ...(await xmlFiles(many(5))),
    'ecgen-radiology/2.xml': '<?xml version="1.0"?>\n<eCitation>\n  <MeSH>\n</eCitation>\n',
    'ecgen-radiology/3.xml': '<html><body>gone</body></html>',
    'ecgen-radiology/4.xml': xml({
      ...(many(4)[3] as Report),
      views: { '/../../secret': 'Frontal' },
    }),
  });
  await rm(join(root, 'NLMCXR_png/CXR5_IM-0001-1001.png'));
  const { splits } = await inspectDataset(await openIu(root), { decode: true });
  const skipped = splitNames.flatMap((split) => splits[split].skipped);
  t.deepEqual(
    skipped.toSorted((a, b) => a.id.localeCompare(b.id)),
    [
      { id: '2', kind: 'corrupt', message: 'ecgen-radiology/2.xml:4: it is not well-formed XML' },
      { id: '3', kind: 'corrupt', message: 'ecgen-radiology/3.xml:1: its root is not eCitation' },
      {
        id: '4',
        kind: 'corrupt',
        message: 'ecgen-radiology/4.xml:1: the id of a parentImage is not a file name',
      },
      { id: '5', kind: 'missing', message: 'NLMCXR_png/CXR5_IM-0001-1001.png: no such file' },
    ],
  );
});

test('the fingerprint follows the reports', async (t) => {
  const fingerprint = async (all: readonly Report[]) =>
    (await openIu(await folder(t, await tables(all)))).fingerprint;
  const before = await fingerprint(reports);
  t.is(await fingerprint(reports.toReversed()), before);
  const [first, ...others] = reports as readonly [Report, ...Report[]];
  t.not(await fingerprint([{ ...first, impression: 'Other.' }, ...others]), before);
});

test('malformed tables are refused with file and line, and without their text', async (t) => {
  const files = await tables(reports);
  const cases: readonly [Files, RegExp][] = [
    [
      { 'indiana_reports.csv': `${String(files['indiana_reports.csv'])}9,"secret\n` },
      /^indiana_reports\.csv:\d+: Quote Not Closed/,
    ],
    [
      { 'indiana_reports.csv': `${String(files['indiana_reports.csv'])}9,secret\n` },
      /^indiana_reports\.csv:7: .*got 2/,
    ],
    [
      { 'indiana_reports.csv': `${String(files['indiana_reports.csv'])}1,a,b,c,d,e,secret,f\n` },
      /^indiana_reports\.csv:7: its uid occurs twice/,
    ],
    [
      { 'indiana_projections.csv': 'uid,filename,projection\n1,../secret.dcm.png,Frontal\n' },
      /^indiana_projections\.csv:2: filename is not/,
    ],
    [
      { 'indiana_projections.csv': 'uid,file\n1,a\n' },
      /^indiana_projections\.csv:1: the header lacks filename, projection/,
    ],
  ];
  for (const [broken, message] of cases) {
    const root = await folder(t, { ...files, ...broken });
    const error = await t.throwsAsync(openIu(root), { code: 'INVALID_ARGUMENT', message });
    t.false(error?.message.includes('secret'));
    t.is(error?.cause, undefined);
  }
});

test('a folder of another kind is refused with the expected names', async (t) => {
  await t.throwsAsync(openIu(await folder(t, {})), {
    code: 'NOT_FOUND',
    message: 'ecgen-radiology or NLMCXR_reports/ecgen-radiology: no such file',
  });
});
