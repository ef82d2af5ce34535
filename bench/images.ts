import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { decodeImage } from '../lib/image/decode.ts';
import { imagenet } from '../lib/image/preprocess.ts';
import { preprocess } from '../lib/inference/normalization.ts';
import type { Preprocessing } from '../lib/image/preprocess.ts';
import { dicomFile } from '../test/fixtures/image/dicom-file.ts';
import { attributes } from '../test/fixtures/image/pixels.ts';

const spec: Preprocessing = {
  height: 512,
  width: 512,
  resize: 'cover',
  pad: 0,
  kernel: 'cubic',
  ...imagenet,
};
const rounds = 9;
const batch = 8;

/** One at a time this is a latency, in batches a throughput; libvips and the pool have threads. */
async function millisecondsEach(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await Promise.all(Array.from({ length: batch }, work));
  return (performance.now() - start) / batch;
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;

/**
 * Decoding, resizing and pixels out with sharp, in 8 bits. Of a JPEG it decodes only the frequencies
 * that the small image needs, which a decoder that must give every pixel cannot do.
 */
const sharpAlone = (bytes: Buffer) =>
  sharp(bytes)
    .resize(spec.width, spec.height, { fit: 'cover', kernel: spec.kernel })
    .raw()
    .toBuffer();

/** An image of 2048 x 2048 in the most frequent formats, made of noise and gradients. */
async function madeFiles(): Promise<[string, Buffer][]> {
  const side = 2048;
  const values = Uint16Array.from({ length: side * side }, (_, index) => {
    const [x, y] = [index % side, Math.floor(index / side)];
    return Math.round(
      1500 + 1200 * Math.sin(x / 300) * Math.cos(y / 400) + ((x * 7919 + y * 31) % 64),
    );
  });
  const drawn = () =>
    sharp(
      values.map((v) => v * 16),
      { raw: { width: side, height: side, channels: 1 } },
    );
  const size = { '00280010 US': [side], '00280011 US': [side] };
  const cells = Buffer.from(values.buffer);
  return [
    ['JPEG 2048 x 2048', await drawn().toColourspace('b-w').jpeg({ quality: 95 }).toBuffer()],
    ['PNG, 16 bit', await drawn().toColourspace('grey16').png().toBuffer()],
    ['DICOM, 12 bit', dicomFile({ ...attributes(12), ...size, '7fe00010 OW': cells })],
  ];
}

function filesOf(folder: string): [string, Buffer][] {
  return readdirSync(folder)
    .filter((name) => /\.(png|jpe?g|tiff?|dcm)$/.test(name))
    .map((name) => [name, readFileSync(join(folder, name))]);
}

/**
 * `npm run bench -- images [FOLDER]`, without a folder on files made here: images per second of decode + preprocess against sharp alone
 * on the same bytes, where sharp reads the format.
 */
export async function run([folder]: string[]): Promise<void> {
  const files = folder === undefined ? await madeFiles() : filesOf(folder);
  process.stdout.write(
    `medians of ${rounds} rounds of ${batch} images at once, to ${spec.width} x ${spec.height}\n`,
  );
  for (const [name, bytes] of files) {
    const ours = () => decodeImage(bytes).then((image) => preprocess(image, spec));
    const readable = await sharpAlone(bytes).then(
      () => true,
      () => false,
    );
    const times: number[] = [];
    const ratios: number[] = [];
    await millisecondsEach(ours);
    for (let round = 0; round < rounds; round++) {
      const mine = await millisecondsEach(ours);
      times.push(mine);
      // Side by side, so that a noisy machine disturbs both.
      if (readable) ratios.push(mine / (await millisecondsEach(() => sharpAlone(bytes))));
    }
    const rate = (1000 / median(times)).toFixed(1).padStart(7);
    const ratio = readable
      ? `${(1 / median(ratios)).toFixed(2)} of sharp alone`
      : 'sharp cannot read it';
    process.stdout.write(`${name.padEnd(28)} ${rate} images/s   ${ratio}\n`);
  }
}
