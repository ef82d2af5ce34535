import { createHash } from 'node:crypto';
import test from 'ava';
import {
  type Preprocessing,
  imagenet,
  parsePreprocessing,
  resize,
} from '../lib/image/preprocess.ts';
import { normalize, normalizeInGraph, preprocess } from '../lib/inference/normalization.ts';
import { input } from '../lib/graph/value.ts';
import { graphOf, numbers, runGraph } from './support/engine.ts';
import { greys, height, storedPixels, width } from './fixtures/image/pixels.ts';
import type { DecodedImage } from '../lib/image/decoded.ts';

const image: DecodedImage = {
  width,
  height,
  pixels: greys(12, storedPixels(12)),
  format: 'png',
  bitsStored: 16,
  view: undefined,
  laterality: undefined,
};
const spec: Preprocessing = {
  height: 32,
  width: 48,
  resize: 'stretch',
  pad: 0,
  kernel: 'cubic',
  ...imagenet,
};

test('A radiograph becomes float32 [3, height, width], each channel by its own mean and deviation', async (t) => {
  const white = { ...image, pixels: image.pixels.map(() => 65535) };
  const tensor = await preprocess(white, spec);
  t.is(tensor.dtype, 'float32');
  t.deepEqual(tensor.shape, [3, 32, 48]);
  t.is(tensor.data.length, 3 * 32 * 48);
  for (const channel of [0, 1, 2] as const) {
    const expected = (1 - imagenet.mean[channel]) / imagenet.std[channel];
    t.true(Math.abs(tensor.data[channel * 32 * 48 + 77]! - expected) < 1e-6);
  }
});

test('Preprocessing gives the same bits every time, also when many run at once', async (t) => {
  const digest = (data: Float32Array) =>
    createHash('sha256').update(new Uint8Array(data.buffer)).digest('hex');
  for (const kernel of ['nearest', 'linear', 'cubic', 'lanczos3'] as const) {
    const runs = Array.from({ length: 8 }, () => preprocess(image, { ...spec, kernel }));
    const digests = (await Promise.all(runs)).map(({ data }) => digest(data));
    t.is(new Set(digests).size, 1, kernel);
  }
});

test('Resizing and normalization together are the preprocessing', async (t) => {
  const separate = normalize(await resize(image, spec), spec);
  t.deepEqual(separate, await preprocess(image, spec));
});

test('Training normalizes within its graph by the numbers that serving normalizes by', async (t) => {
  const channels = { mean: [0.31, 0.52, 0.43], std: [0.21, 0.27, 0.33] } as const;
  const side = { height: 2, width: 3 };
  const pixels = Uint16Array.from([0, 1, 9000, 30_000, 52_345, 65_535]);
  const grey = input('grey', 'float32', ['batch', 1, side.height, side.width]);
  const data = Float32Array.from(pixels, (value) => value / 65_535);
  const feeds = { grey: { dtype: 'float32', shape: [1, 1, 2, 3], data } } as const;
  const graph = graphOf([grey], { image: normalizeInGraph(grey, channels) });
  const { image: inGraph } = await runGraph(graph, feeds);
  const { data: served } = normalize(pixels, { ...spec, ...side, ...channels });
  t.deepEqual(inGraph?.shape, [1, 3, 2, 3]);
  for (const [at, value] of numbers(inGraph).entries()) {
    const channel = Math.floor(at / 6) as 0 | 1 | 2;
    const exact = (pixels[at % 6]! / 65_535 - channels.mean[channel]) / channels.std[channel];
    t.true(Math.abs(value - exact) < 1e-6, `graph, ${at}: ${value}, expected ${exact}`);
    t.true(Math.abs(served[at]! - exact) < 1e-6, `serving, ${at}: ${served[at]}`);
  }
});

test('An image that has the right size already is not changed', async (t) => {
  t.deepEqual(await resize(image, { ...spec, height, width }), image.pixels);
});

test('Shrinking averages instead of skipping pixels', async (t) => {
  const side = 64;
  const stripes = Uint16Array.from({ length: side * side }, (_, index) => (index % 2) * 65535);
  const grey = await resize(
    { width: side, height: side, pixels: stripes },
    { ...spec, height: 8, width: 8, kernel: 'linear' },
  );
  t.true(grey.every((value) => Math.abs(value - 32768) < 1400));
});

/** Columns 0..9 dark, 10..19 mid, 20..29 bright, ten rows high. */
const bands = {
  width: 30,
  height: 10,
  pixels: Uint16Array.from(
    { length: 300 },
    (_, index) => Math.floor((index % 30) / 10) * 20000 + 5000,
  ),
};

test('cover crops both sides evenly', async (t) => {
  const grey = await resize(bands, { ...spec, height: 10, width: 10, resize: 'cover' });
  t.true(grey.every((value) => value === 25000));
});

test('contain pads both sides with the given grey', async (t) => {
  const grey = await resize(bands, { ...spec, height: 30, width: 30, resize: 'contain', pad: 0.5 });
  const rows = Array.from({ length: 30 }, (_, row) => grey[row * 30]!);
  t.deepEqual(
    rows,
    rows.map((_, row) => (row >= 10 && row < 20 ? 5000 : 32768)),
  );
});

test('stretch fills the output whatever the aspect', async (t) => {
  const grey = await resize(bands, { ...spec, height: 7, width: 3, kernel: 'nearest' });
  t.deepEqual(Array.from(grey.subarray(0, 3)), [5000, 25000, 45000]);
});

test('The most extreme aspect costs no more than any other', async (t) => {
  const thin = { width: 60_000, height: 1, pixels: new Uint16Array(60_000).fill(9) };
  for (const mode of ['cover', 'contain', 'stretch'] as const) {
    t.is((await resize(thin, { ...spec, resize: mode })).length, 32 * 48);
  }
});

test('Preprocessing is JSON, and a wrong field is named', (t) => {
  t.deepEqual(parsePreprocessing(JSON.parse(JSON.stringify(spec))), spec);
  const wrong: Record<string, unknown> = {
    height: 0,
    width: '512',
    resize: 'crop',
    pad: 2,
    kernel: 'bicubic',
    mean: [0, 0],
    std: [1, 0, 1],
    colour: true,
  };
  for (const [name, value] of Object.entries(wrong)) {
    const error = t.throws(() =>
      parsePreprocessing({ ...spec, [name]: value }, 'release.preprocessing'),
    );
    t.like(error, {
      code: 'INVALID_ARGUMENT',
      reason: 'PREPROCESSING_INVALID',
      field: `release.preprocessing.${name}`,
    });
  }
  const { kernel: _, ...missing } = spec;
  t.throws(() => parsePreprocessing(missing), { message: /kernel: is missing; expected one of/ });
  t.throws(() => parsePreprocessing(null), { message: /height: is missing/ });
});
