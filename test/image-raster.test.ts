import test from 'ava';
import sharp from 'sharp';
import type { Sharp } from 'sharp';
import { decodeImage } from '../lib/image/decode.ts';
import { height, storedPixels, width } from './fixtures/image/pixels.ts';

const shallow = Uint8Array.from(storedPixels(8));
const deep = Uint16Array.from(storedPixels(16));
const spread = Uint16Array.from(shallow, (value) => value * 257);
const raw = (pixels: Uint8Array | Uint16Array, channels: 1 | 2 | 3 | 4 = 1) =>
  sharp(pixels, { raw: { width, height, channels } });

/** Each sample `channels` times, or with an opaque alpha at the end. */
function repeat<T extends Uint8Array | Uint16Array>(pixels: T, colours: number, alpha: boolean): T {
  const channels = colours + (alpha ? 1 : 0);
  const opaque = 2 ** (8 * pixels.BYTES_PER_ELEMENT) - 1;
  const copies = Array.from({ length: pixels.length * channels }, (_, index) =>
    index % channels < colours ? pixels[Math.floor(index / channels)]! : opaque,
  );
  return (pixels instanceof Uint8Array ? Uint8Array.from(copies) : Uint16Array.from(copies)) as T;
}

for (const [what, colours, alpha] of [
  ['grey', 1, false],
  ['grey with alpha', 1, true],
  ['colour', 3, false],
  ['colour with alpha', 3, true],
] as const) {
  const channels = (colours + (alpha ? 1 : 0)) as 1 | 2 | 3 | 4;
  test(`PNG in ${what} of 16 and of 8 bits keeps every grey value`, async (t) => {
    const space = colours === 1 ? 'grey16' : 'rgb16';
    const png16 = await raw(repeat(deep, colours, alpha), channels)
      .toColourspace(space)
      .png()
      .toBuffer();
    t.like(await sharp(png16).metadata(), { depth: 'ushort', channels });
    const image16 = await decodeImage(png16);
    t.like(image16, { width, height, format: 'png', bitsStored: 16, view: undefined });
    t.deepEqual(image16.pixels, deep);

    const png8 = await raw(repeat(shallow, colours, alpha), channels)
      .toColourspace(colours === 1 ? 'b-w' : 'srgb')
      .png()
      .toBuffer();
    t.like(await sharp(png8).metadata(), { depth: 'uchar', channels });
    const image8 = await decodeImage(png8);
    t.is(image8.bitsStored, 8);
    t.deepEqual(image8.pixels, spread);
  });
}

test('Transparent pixels are black', async (t) => {
  const png = await raw(
    repeat(shallow, 3, true)
      .fill(200)
      .map((v, i) => (i % 4 === 3 ? 0 : v)),
    4,
  )
    .png()
    .toBuffer();
  t.true((await decodeImage(png)).pixels.every((grey) => grey === 0));
});

test('Colour becomes grey by the luma of BT.601', async (t) => {
  const colours = sharp(Uint8Array.of(255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30), {
    raw: { width: 4, height: 1, channels: 3 },
  });
  const { pixels } = await decodeImage(await colours.png().toBuffer());
  // 76.245, 149.685, 29.07; 2.99 + 11.74 + 3.42 = 18.15
  t.deepEqual(Array.from(pixels), [76 * 257, 150 * 257, 29 * 257, 18 * 257]);
});

test('TIFF keeps 8 and 16 bits, whatever its compression and byte order', async (t) => {
  for (const compression of ['none', 'lzw', 'deflate', 'packbits'] as const) {
    const tiff16 = await raw(deep).toColourspace('grey16').tiff({ compression }).toBuffer();
    const image = await decodeImage(tiff16);
    t.like(image, { format: 'tiff', bitsStored: 16 });
    t.deepEqual(image.pixels, deep);
    const tiff8 = await raw(shallow).toColourspace('b-w').tiff({ compression }).toBuffer();
    t.deepEqual((await decodeImage(tiff8)).pixels, spread);
  }
  t.deepEqual((await decodeImage(bigEndianTiff(deep))).pixels, deep);
});

test('TIFF whose zero is white is inverted', async (t) => {
  const { pixels } = await decodeImage(bigEndianTiff(deep, { photometric: 0 }));
  t.deepEqual(
    pixels,
    deep.map((grey) => 65535 - grey),
  );
});

/** An uncompressed TIFF of one strip; photometric 1: zero is black, 0: zero is white. */
function bigEndianTiff(
  pixels: Uint16Array,
  { photometric = 1, bits = 16, sampleFormat = 1 } = {},
): Buffer {
  const entries = [
    [256, width],
    [257, height],
    [258, bits],
    [259, 1],
    [262, photometric],
    [273, 8 + 2 + 10 * 12 + 4],
    [277, 1],
    [278, height],
    [279, pixels.length * 2],
    [339, sampleFormat],
  ] as const;
  const head = Buffer.alloc(8 + 2 + entries.length * 12 + 4);
  head.write('MM\0*', 0, 'latin1');
  head.writeUInt32BE(8, 4);
  head.writeUInt16BE(entries.length, 8);
  entries.forEach(([tag, value], index) => {
    const at = 10 + index * 12;
    head.writeUInt16BE(tag, at);
    head.writeUInt16BE(4, at + 2);
    head.writeUInt32BE(1, at + 4);
    head.writeUInt32BE(value, at + 8);
  });
  return Buffer.concat([head, Buffer.from(Uint16Array.from(pixels).buffer).swap16()]);
}

test('JPEG, baseline and progressive, grey and colour, decodes as libvips decodes it', async (t) => {
  const encoders: readonly Sharp[] = [
    raw(shallow).toColourspace('b-w').jpeg({ quality: 95 }),
    raw(shallow).toColourspace('b-w').jpeg({ quality: 95, progressive: true }),
    raw(repeat(shallow, 3, false), 3).jpeg({ quality: 95, chromaSubsampling: '4:2:0' }),
  ];
  for (const encoder of encoders) {
    const jpeg = await encoder.toBuffer();
    const image = await decodeImage(jpeg);
    t.like(image, { width, height, format: 'jpeg', bitsStored: 8 });
    const reference = await sharp(jpeg).extractChannel(0).raw().toBuffer();
    t.deepEqual(
      image.pixels,
      Uint16Array.from(reference, (value) => value * 257),
    );
  }
});

test('An image whose metadata state a rotation is turned upright', async (t) => {
  const jpeg = await raw(shallow).jpeg().withMetadata({ orientation: 6 }).toBuffer();
  t.like(await decodeImage(jpeg), { width: height, height: width });
});

test('Pages, floating-point samples and other formats are refused with the reason', async (t) => {
  const png = await raw(shallow).png().toBuffer();
  const pages = await sharp([png, png], { join: { animated: true } })
    .tiff()
    .toBuffer();
  t.like(await t.throwsAsync(decodeImage(pages)), { reason: 'IMAGE_MULTI_PAGE' });
  const floats = bigEndianTiff(deep, { bits: 32, sampleFormat: 3 });
  t.like(await t.throwsAsync(decodeImage(floats)), { reason: 'IMAGE_SAMPLE_UNSUPPORTED' });
  for (const other of [
    await raw(shallow).webp().toBuffer(),
    Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
    Buffer.from('four'),
    Buffer.alloc(0),
  ]) {
    const error = await t.throwsAsync(decodeImage(other, { field: 'images[3].data' }));
    t.like(error, {
      code: 'INVALID_ARGUMENT',
      reason: 'IMAGE_FORMAT_UNSUPPORTED',
      field: 'images[3].data',
    });
  }
});
