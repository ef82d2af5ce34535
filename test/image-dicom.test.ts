import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { decodeImage } from '../lib/image/decode.ts';
import { defaultLimits } from '../lib/image/limits.ts';
import {
  dicomFile,
  explicitBig,
  explicitLittle,
  implicitLittle,
} from './fixtures/image/dicom-file.ts';
import type { Elements } from './fixtures/image/dicom-file.ts';
import { attributes, greys, height, storedPixels, width } from './fixtures/image/pixels.ts';

const fixtures = join(import.meta.dirname, 'fixtures/image');
const fixture = (name: string) => readFileSync(join(fixtures, `${name}.dcm`));
/** Decodes with a time limit that no loaded machine exceeds. */
const decode = (bytes: Uint8Array, field = 'image') =>
  decodeImage(bytes, { field, limits: { ...defaultLimits, maxTimeMs: 240_000 } });
const decodeFixture = (name: string) => decode(fixture(name));

function maxDifference(a: Uint16Array, b: Uint16Array): number {
  return a.reduce((most, value, index) => Math.max(most, Math.abs(value - b[index]!)), 0);
}

const lossless = readdirSync(fixtures)
  .filter((name) => name.endsWith('.dcm'))
  .map((name) => name.slice(0, -'.dcm'.length))
  .filter((name) => /lossless|^rle|endian|^deflated/.test(name) && !name.includes('transform'));

for (const name of lossless) {
  test(`The fixture ${name} decodes to exactly the stored image`, async (t) => {
    const bits = Number(/-(8|12|16)(-|$)/.exec(name)![1]);
    const image = await decodeFixture(name);
    t.deepEqual(
      { ...image, pixels: undefined },
      {
        width,
        height,
        pixels: undefined,
        format: 'dicom',
        bitsStored: bits,
        view: 'PA',
        laterality: undefined,
      },
    );
    t.deepEqual(image.pixels, greys(bits));
  });
}

test('A point transform loses the low bits it drops, and no more', async (t) => {
  const image = await decodeFixture('jpeg-lossless-12-point-transform');
  const dropped = storedPixels(12).map((value) => value & ~3);
  t.deepEqual(image.pixels, greys(12, dropped));
});

for (const [name, steps] of [
  ['jpeg-baseline-8', 0],
  ['jpeg-extended-8', 0],
  ['jpeg-extended-12', 1],
] as const) {
  test(`The fixture ${name} decodes as dcmtk decodes it, within ${steps} grey steps`, async (t) => {
    const image = await decodeFixture(name);
    const reference = await decodeFixture(`${name}-decoded`);
    const step = 65535 / (2 ** image.bitsStored - 1);
    t.true(maxDifference(image.pixels, reference.pixels) <= Math.ceil(steps * step));
  });
}

test('JPEG-LS near-lossless stays within its allowed error', async (t) => {
  const image = await decodeFixture('jpeg-ls-near-12');
  t.true(maxDifference(image.pixels, greys(12)) <= Math.ceil((3 * 65535) / 4095));
});

test('Lossy JPEG 2000 stays close to the image', async (t) => {
  const { pixels } = await decodeFixture('jpeg-2000-12');
  const expected = greys(12);
  const error = pixels.reduce((sum, value, index) => sum + Math.abs(value - expected[index]!), 0);
  t.true(error / pixels.length < 0.01 * 65535);
});

test('A frame in several fragments is one frame', async (t) => {
  const file = fixture('jpeg-2000-lossless-8');
  const start = file.indexOf('ff4fff51', 'hex');
  const stream = file.subarray(start, file.indexOf('feffdde0', 'hex'));
  const fragments = [stream.subarray(0, 400), stream.subarray(400)];
  const image = await decode(dicomFile(attributes(8), '1.2.840.10008.1.2.4.90', fragments));
  t.deepEqual(image.pixels, greys(8));
});

/** A file of two rows of 16-bit cells with the given attributes over the usual ones. */
function small(cells: readonly number[], bits: number, more: Elements, syntax = explicitLittle) {
  const { '00281050 DS': _, '00281051 DS': __, '00281056 CS': ___, ...base } = attributes(bits);
  return dicomFile(
    {
      ...base,
      '00280010 US': [2],
      '00280011 US': [cells.length / 2],
      '00280100 US': [16],
      ...more,
      '7fe00010 OW': cells,
    },
    syntax,
  );
}
const pixelsOf = async (file: Uint8Array) => Array.from((await decode(file)).pixels);

test('MONOCHROME1 is the inverse of MONOCHROME2, under a window as under the automatic one', async (t) => {
  const cells = storedPixels(12).slice(0, 400);
  for (const window of [{}, { '00281050 DS': '1800', '00281051 DS': '900' }]) {
    const plain = await pixelsOf(small(cells, 12, window));
    const inverted = await pixelsOf(small(cells, 12, { ...window, '00280004 CS': 'MONOCHROME1' }));
    t.deepEqual(
      inverted,
      plain.map((grey) => 65535 - grey),
    );
  }
});

test('Bits outside the stored ones are ignored, whatever the high bit', async (t) => {
  const window = { '00281050 DS': '2047.5', '00281051 DS': '4095', '00281056 CS': 'LINEAR_EXACT' };
  const low = small([0xf000, 0xafff, 0x1800, 0x0001], 12, { ...window, '00280102 US': [11] });
  const high = small([0x000f, 0xfffa, 0x8001, 0x001c], 12, { ...window, '00280102 US': [15] });
  t.deepEqual(await pixelsOf(low), [0, 65535, 32776, 16]);
  t.deepEqual(await pixelsOf(high), [0, 65535, 32776, 16]);
});

test('Signed samples are read in two’s complement of the stored bits', async (t) => {
  const file = small([0x800, 0xfff, 0x000, 0x7ff], 12, {
    '00280103 US': [1],
    '00281050 DS': '-0.5',
    '00281051 DS': '4095',
    '00281056 CS': 'LINEAR_EXACT',
  });
  t.deepEqual(await pixelsOf(file), [0, 32759, 32776, 65535]);
});

test('Padding is black and does not move the automatic window', async (t) => {
  const cells = [
    ...Array.from({ length: 200 }, (_, index) => 1000 + index),
    ...Array(200).fill(4000),
  ];
  for (const photometric of ['MONOCHROME1', 'MONOCHROME2']) {
    const more = { '00280004 CS': photometric, '00280120 US': [3990], '00280121 US': [4095] };
    const grey = await pixelsOf(small(cells, 12, more));
    t.true(grey.slice(200).every((value) => value === 0));
    t.is(Math.max(...grey.slice(0, 200)), 65535);
    t.is(Math.min(...grey.slice(0, 200)), 0);
  }
});

test('Without window or table 8-bit samples are kept, and deeper ones are spread between percentiles', async (t) => {
  t.deepEqual(await pixelsOf(small([10, 20, 30, 40], 8, {})), [2570, 5140, 7710, 10280]);
  const cells = Array.from({ length: 1000 }, (_, index) => 1000 + index);
  const grey = await pixelsOf(small(cells, 12, {}));
  // 5 of 1000 pixels lie at or beyond each end: 1005 is black, 1994 is white.
  t.deepEqual([grey[0], grey[5], grey[6], grey[994], grey[999]], [0, 0, 66, 65535, 65535]);
  t.is((await pixelsOf(small([7, 7, 7, 7], 12, {})))[0], 32768);
});

for (const [name, syntax] of Object.entries({ explicitLittle, implicitLittle, explicitBig })) {
  test(`Tables come before rescale and window, in ${name}`, async (t) => {
    const modality = {
      '00283002 US': [4, 10, 16],
      '00283006 OW': [100, 200, 300, 65535],
    };
    const voi = { '00283002 US': [3, 200, 12], '00283006 OW': [0, 819, 4095] };
    const both = {
      '00281052 DS': '5000',
      '00281053 DS': '7',
      '00281050 DS': '1',
      '00281051 DS': '2',
      '00283000 SQ': [modality],
      '00283010 SQ': [voi],
    };
    // 9, 10 -> 100 -> before the VOI table -> 0; 11 -> 200 -> 0; 12 -> 300 -> past it -> 4095.
    t.deepEqual(await pixelsOf(small([9, 10, 11, 12], 12, both, syntax)), [0, 0, 0, 65535]);
    const rescaled = {
      '00281052 DS': '-1000',
      '00281053 DS': '2',
      '00283010 SQ': [{ '00283002 SS': [3, -994, 12], '00283006 OW': [819, 1638, 4095] }],
    };
    // -994 -> 819; -992 -> two past the first -> 4095.
    t.deepEqual(
      await pixelsOf(small([0, 3, 4, 5], 12, rescaled, syntax)),
      [13107, 13107, 65535, 65535],
    );
  });
}

test('The rescale comes before the window', async (t) => {
  const more = {
    '00281052 DS': '-100',
    '00281053 DS': '0.5',
    '00281050 DS': '100\\7',
    '00281051 DS': '200\\9',
    '00281056 CS': 'LINEAR_EXACT',
  };
  // 200 -> 0, 400 -> 100 (the centre), 300 -> 50, 600 -> 200
  t.deepEqual(await pixelsOf(small([200, 400, 300, 600], 12, more)), [0, 32768, 16384, 65535]);
});

test('View position and laterality are read, and nothing else of the file is', async (t) => {
  const views = {
    PA: 'PA',
    AP: 'AP',
    'AP AXIAL': 'AP',
    LL: 'LATERAL',
    'XTABLE LATERAL': 'LATERAL',
    LAO: undefined,
    '': undefined,
  };
  for (const [position, view] of Object.entries(views)) {
    const image = await decode(
      small([1, 2, 3, 4], 12, {
        '00100010 PN': 'Secret^Name',
        '00185101 CS': position,
        '00200062 CS': 'L',
      }),
    );
    t.is(image.view, view as typeof image.view);
    t.is(image.laterality, 'L');
    t.false(JSON.stringify(image).includes('Secret'));
  }
  const item = [{ '00080104 LO': 'postero-anterior' }];
  const coded = small([1, 2, 3, 4], 12, { '00185101 CS': '', '00540220 SQ': item });
  t.is((await decode(coded)).view, 'PA');
});

const refused: Record<string, { reason: string; more: Elements }> = {
  'computed tomography': { reason: 'DICOM_MODALITY_UNSUPPORTED', more: { '00080060 CS': 'CT' } },
  'a file without a modality': {
    reason: 'DICOM_MODALITY_UNSUPPORTED',
    more: { '00080060 CS': '' },
  },
  'a hand': { reason: 'DICOM_BODY_PART_UNSUPPORTED', more: { '00180015 CS': 'HAND' } },
  'a series of frames': { reason: 'DICOM_MULTI_FRAME', more: { '00280008 IS': '12' } },
  colour: {
    reason: 'DICOM_PHOTOMETRIC_UNSUPPORTED',
    more: { '00280004 CS': 'RGB', '00280002 US': [3] },
  },
  'samples of 32 bits': { reason: 'DICOM_PIXEL_FORMAT_UNSUPPORTED', more: { '00280100 US': [32] } },
  'more bits stored than allocated': {
    reason: 'DICOM_PIXEL_FORMAT_UNSUPPORTED',
    more: { '00280101 US': [17] },
  },
  'an image without rows': { reason: 'IMAGE_SIZE_INVALID', more: { '00280010 US': [0] } },
  'pixel data shorter than the image': { reason: 'IMAGE_CORRUPT', more: { '00280010 US': [9] } },
  'a slope of zero': { reason: 'DICOM_ATTRIBUTE_INVALID', more: { '00281053 DS': '0' } },
  'an unknown window function': {
    reason: 'DICOM_ATTRIBUTE_INVALID',
    more: { '00281050 DS': '1', '00281051 DS': '2', '00281056 CS': 'CUBIC' },
  },
  'a table shorter than its descriptor says': {
    reason: 'DICOM_ATTRIBUTE_INVALID',
    more: { '00283010 SQ': [{ '00283002 US': [99, 0, 16], '00283006 OW': [1, 2] }] },
  },
};
for (const [what, { reason, more }] of Object.entries(refused)) {
  test(`DICOM with ${what} is refused as ${reason}`, async (t) => {
    const file = small([1, 2, 3, 4], 12, { '00100010 PN': 'Secret^Name', ...more });
    const error = await t.throwsAsync(decode(file, 'images[0].data'), {
      name: 'DomainError',
      message: /^images\[0\]\.data: /,
    });
    t.like(error, { code: 'INVALID_ARGUMENT', reason, field: 'images[0].data', cause: undefined });
    t.false(error.message.includes('Secret'));
  });
}

test('DICOM without pixel data, or in an unknown transfer syntax, is refused with the reason', async (t) => {
  await t.throwsAsync(decode(dicomFile(attributes(8))), { message: /no pixel data/ });
  const mpeg = dicomFile(attributes(8), '1.2.840.10008.1.2.4.102', [Buffer.alloc(8)]);
  const error = await t.throwsAsync(decode(mpeg));
  t.like(error, { reason: 'DICOM_TRANSFER_SYNTAX_UNSUPPORTED' });
});

test('Two real radiographs, stored as MONOCHROME1 and as MONOCHROME2, give the same image once inverted', async (t) => {
  const folder = join(import.meta.dirname, '../../shared/data/dicom');
  if (!existsSync(folder)) {
    t.log('skipped: ../shared/data/dicom is not there');
    t.pass();
    return;
  }
  const [one, two] = await Promise.all(
    ['monochrome1', 'monochrome2'].map((name) =>
      decode(readFileSync(join(folder, `${name}-jpeg-baseline.dcm`))),
    ),
  );
  t.is(one!.view, 'PA');
  t.deepEqual(
    one!.pixels,
    two!.pixels.map((grey) => 65535 - grey),
  );
});
