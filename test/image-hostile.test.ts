import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { deflateRawSync, deflateSync } from 'node:zlib';
import test from 'ava';
import sharp from 'sharp';
import { DomainError } from '../lib/errors.ts';
import { decodeImage } from '../lib/image/decode.ts';
import { defaultLimits } from '../lib/image/limits.ts';
import { dicomFile, explicitLittle } from './fixtures/image/dicom-file.ts';
import { attributes, height, storedPixels, width } from './fixtures/image/pixels.ts';
import { patienceMs } from './support/waiting.ts';

/** Where the time that decoding takes is not what is tested. */
const patient = { ...defaultLimits, maxTimeMs: patienceMs };
const fixtures = join(import.meta.dirname, 'fixtures/image');
const dicom = readdirSync(fixtures)
  .filter((name) => name.endsWith('.dcm') && !name.includes('decoded'))
  .map((name) => [name, readFileSync(join(fixtures, name))] as const);

async function rasters(): Promise<(readonly [string, Buffer])[]> {
  const raw = sharp(Uint8Array.from(storedPixels(8)), { raw: { width, height, channels: 1 } });
  return [
    ['image.jpg', await raw.clone().jpeg().toBuffer()],
    ['image.png', await raw.clone().png().toBuffer()],
    ['image.tiff', await raw.clone().tiff({ compression: 'lzw' }).toBuffer()],
  ];
}

/** Mulberry32: the same mutations for the same seed. */
function generator(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), seed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Cuts the file, or changes, drops, doubles some of its bytes. */
function mutate(bytes: Buffer, random: () => number): Buffer {
  const at = () => Math.floor(random() * bytes.length);
  if (random() < 0.25) return bytes.subarray(0, at());
  const copy = Buffer.from(bytes);
  const changes = 1 + Math.floor(random() * 8);
  for (let change = 0; change < changes; change++) {
    copy[at()] = random() < 0.3 ? 0xff : Math.floor(random() * 256);
  }
  const [from, length] = [at(), Math.floor(random() * 40)];
  if (random() < 0.2) {
    return Buffer.concat([copy.subarray(0, from), copy.subarray(from + length)]);
  }
  if (random() < 0.2) return Buffer.concat([copy.subarray(0, from + length), copy.subarray(from)]);
  return copy;
}

test('Damaged files give an image or a typed error, and the decoder lives on', async (t) => {
  const seed = Number(process.env['SEED'] ?? 20_261_124);
  const rounds = Number(process.env['ROUNDS'] ?? 12);
  t.log(`seed ${seed}, ${rounds} mutations of each file`);
  const random = generator(seed);
  const limits = { ...patient, maxPixels: 1_000_000 };
  const reasons = new Map<string, number>();
  for (const [name, bytes] of [...dicom, ...(await rasters())]) {
    const jobs = Array.from({ length: rounds }, async (_, round) => {
      try {
        const { width, height, pixels } = await decodeImage(mutate(bytes, random), { limits });
        t.is(pixels.length, width * height);
      } catch (error) {
        const where = `${name}, mutation ${round}, seed ${seed}`;
        const { code, reason } = error as Partial<DomainError>;
        t.true(error instanceof DomainError, `${where}: ${String(error)}`);
        t.is(code, 'INVALID_ARGUMENT', where);
        t.regex(reason!, /^(IMAGE|DICOM)_[A-Z_]+$/, where);
        reasons.set(reason!, (reasons.get(reason!) ?? 0) + 1);
      }
    });
    await Promise.all(jobs);
    t.is((await decodeImage(bytes)).width, width, `${name} after its mutations`);
  }
  t.log(Object.fromEntries(reasons));
  t.false(reasons.has('IMAGE_TIME_LIMIT'));
});

test('Every truncation of an encapsulated codestream is an error or an image, and never a hang', async (t) => {
  const [, bytes] = dicom.find(([name]) => name === 'jpeg-lossless-first-order-12.dcm')!;
  const start = bytes.indexOf('ffd8ff', 'hex');
  for (let length = 0; length < 700; length += 23) {
    const file = dicomFile(attributes(12), '1.2.840.10008.1.2.4.70', [
      bytes.subarray(start, start + length),
    ]);
    t.like(await t.throwsAsync(decodeImage(file, { limits: patient })), {
      reason: 'IMAGE_CORRUPT',
    });
  }
});

/** The chunks of a PNG that states a size and holds next to nothing. */
function pngBomb(side: number): Buffer {
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const [length, check] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    check.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, check]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(side, 0);
  header.writeUInt32BE(side, 4);
  header[8] = 16;
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(Buffer.alloc(1_000_000))),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

/** A file of the given size attributes around the codestream of a fixture. */
function encapsulated(
  name: string,
  marker: string,
  edit: (codestream: Buffer) => void,
  side: number,
) {
  const [, bytes] = dicom.find(([fixture]) => fixture === name)!;
  const meta = bytes.toString('latin1', 132, 600);
  const syntax = /1\.2\.840\.10008\.1\.2\.(5|4\.\d+)/.exec(meta)![0];
  const codestream = Buffer.from(bytes.subarray(bytes.indexOf(marker, 0, 'hex')));
  edit(codestream);
  const size = side === 0 ? {} : { '00280010 US': [side], '00280011 US': [side] };
  return dicomFile({ ...attributes(8), ...size }, syntax, [codestream]);
}

/** Both sides of the frame header after the marker, 5 bytes on. */
const jpegSize = (marker: string) => (codestream: Buffer) => {
  const at = codestream.indexOf(marker, 0, 'hex');
  codestream.writeUInt16BE(65000, at + 5);
  codestream.writeUInt16BE(65000, at + 7);
};
const jpeg2000Size = (codestream: Buffer) => {
  codestream.writeUInt32BE(65000, 8);
  codestream.writeUInt32BE(65000, 12);
};
const jpeg2000Tiles = (codestream: Buffer) => {
  codestream.writeUInt32BE(1, 24);
  codestream.writeUInt32BE(1, 28);
};

test('A decompression bomb is refused by its headers, in DICOM and in the codestream', async (t) => {
  const nothing = () => {};
  const bombs: Record<string, Buffer> = {
    'PNG of 30000 x 30000': pngBomb(30_000),
    'DICOM of 65000 x 65000': dicomFile({
      ...attributes(8),
      '00280010 US': [65000],
      '00280011 US': [65000],
      '7fe00010 OW': Buffer.alloc(16),
    }),
    'RLE of 65000 x 65000': encapsulated('rle-8.dcm', '00', nothing, 65000),
    'JPEG of 65000 x 65000': encapsulated('jpeg-baseline-8.dcm', 'ffd8ff', nothing, 65000),
    'JPEG whose codestream lies': encapsulated(
      'jpeg-baseline-8.dcm',
      'ffd8ff',
      jpegSize('ffc0'),
      0,
    ),
    'lossless JPEG that lies': encapsulated(
      'jpeg-lossless-first-order-8.dcm',
      'ffd8ff',
      jpegSize('ffc3'),
      0,
    ),
    'JPEG-LS whose codestream lies': encapsulated(
      'jpeg-ls-lossless-8.dcm',
      'ffd8ff',
      jpegSize('fff7'),
      0,
    ),
    'JPEG 2000 whose codestream lies': encapsulated(
      'jpeg-2000-lossless-8.dcm',
      'ff4fff51',
      jpeg2000Size,
      0,
    ),
    'JPEG 2000 of a tile a pixel': encapsulated(
      'jpeg-2000-lossless-8.dcm',
      'ff4fff51',
      jpeg2000Tiles,
      0,
    ),
  };
  for (const [what, bomb] of Object.entries(bombs)) {
    const error = await t.throwsAsync(
      decodeImage(bomb, { limits: patient }),
      { instanceOf: DomainError },
      what,
    );
    const reason = what.includes('tile') ? 'IMAGE_CORRUPT' : 'IMAGE_TOO_LARGE';
    t.is(error.reason, reason, `${what}: ${error.message}`);
  }
});

test('A deflated data set that expands past the limit is refused while it expands', async (t) => {
  const file = dicomFile({}, '1.2.840.10008.1.2.1.99');
  const bomb = Buffer.concat([file, deflateRawSync(Buffer.alloc(40_000_000))]);
  t.true(bomb.length < 50_000);
  const limits = { ...patient, maxPixels: 1_000_000 };
  const error = await t.throwsAsync(decodeImage(bomb, { limits }));
  t.like(error, { reason: 'IMAGE_TOO_LARGE' });
});

test('Limits on bytes, pixels and time hold, and the next image is decoded', async (t) => {
  const file = dicomFile(
    { ...attributes(8), '7fe00010 OW': Uint8Array.from(storedPixels(8)) },
    explicitLittle,
  );
  for (const bytes of [file, ...(await rasters()).map(([, bytes]) => bytes)]) {
    for (const limits of [{ maxBytes: 100 }, { maxPixels: width * height - 1 }]) {
      const error = await t.throwsAsync(decodeImage(bytes, { limits: { ...patient, ...limits } }));
      t.like(error, { code: 'INVALID_ARGUMENT', reason: 'IMAGE_TOO_LARGE' });
    }
  }
  const side = 3000;
  const slow = dicomFile({
    ...attributes(16),
    '00280010 US': [side],
    '00280011 US': [side],
    '7fe00010 OW': Buffer.alloc(2 * side * side),
  });
  const error = await t.throwsAsync(
    decodeImage(slow, { limits: { ...defaultLimits, maxTimeMs: 1 } }),
  );
  t.like(error, { code: 'INVALID_ARGUMENT', reason: 'IMAGE_TIME_LIMIT' });
  t.is((await decodeImage(slow, { limits: patient })).width, side);
});

test('A file of nothing but elements, or of sequences in sequences, is refused', async (t) => {
  const count = 3_000_000;
  const elements = Buffer.alloc(count * 8);
  for (let index = 0; index < count; index++) {
    elements.writeUInt16LE(0x11 + 2 * (index >> 16), index * 8);
    elements.writeUInt16LE(index & 0xffff, index * 8 + 2);
    elements.write('CS', index * 8 + 4, 'latin1');
  }
  const level = Buffer.from('1100011053510000fffffffffeff00e0ffffffff', 'hex');
  const sequences = Buffer.alloc(500_000 * level.length, level);
  for (const body of [elements, sequences]) {
    const file = Buffer.concat([dicomFile({}), body]);
    t.like(await t.throwsAsync(decodeImage(file, { limits: patient })), {
      reason: 'DICOM_MALFORMED',
    });
  }
});
