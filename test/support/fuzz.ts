import type { GenerateReportRequest, Sent } from '../../lib/rpc/messages.ts';

type Request = Sent<GenerateReportRequest>;

/** Numbers from 0 to 1 by a seed (Park and Miller 1988). */
function randomOf(seed: number): () => number {
  let state = (seed % 0x7ffffffe) + 1;
  return () => (state = (state * 48_271) % 0x7fffffff) / 0x7fffffff;
}

interface Draw {
  readonly random: () => number;
  readonly pick: <T>(items: readonly T[]) => T;
  readonly bytes: (length: number) => Buffer;
}

function drawing(seed: number): Draw {
  const random = randomOf(seed);
  return {
    random,
    pick: (items) => items[Math.floor(random() * items.length)]!,
    bytes: (length) => Buffer.from(Array.from({ length }, () => Math.floor(random() * 256))),
  };
}

const texts = [
  ' ',
  'a b',
  '\0',
  '\u202e',
  '../../etc/passwd',
  '<script>',
  'rs-',
  `rs-${'f'.repeat(24)}`,
  '💥'.repeat(100),
  'x'.repeat(129),
  'x'.repeat(100_000),
];
const numbers = [-1, 0.5, 33, 1e9, 2 ** 31 - 1, -(2 ** 31), Number.NaN, Infinity, -Infinity, -0.1];

/** An image cut short, with flipped bits, with random bytes in or around it, or none at all. */
function spoil(file: Buffer, { random, pick, bytes }: Draw): Buffer {
  const at = Math.floor(random() * file.length);
  const flipped = Buffer.from(file);
  // Within the headers, where lengths and sizes stand.
  for (let flips = 0; flips < 8; flips += 1) flipped[Math.floor(random() * 400)]! ^= 255;
  return pick([
    file.subarray(0, at),
    flipped,
    Buffer.concat([file.subarray(0, at), bytes(64), file.subarray(at + 64)]),
    bytes(4),
    bytes(2000),
    Buffer.concat([file.subarray(0, 132), bytes(500)]),
    Buffer.alloc(0),
  ]);
}

/** By the field that each makes wrong. */
const mutations: readonly ((
  draw: Draw,
  files: { readonly png: Buffer; readonly dicom: Buffer },
) => Request)[] = [
  (draw, { png }) => ({ images: [{ data: spoil(png, draw) }] }),
  (draw, { dicom }) => ({ images: [{ data: spoil(dicom, draw) }] }),
  (draw, { png, dicom }) => ({ images: [{ data: png }, { data: spoil(dicom, draw) }] }),
  ({ pick }, { png }) => ({
    images: Array.from({ length: pick([0, 9, 20]) }, () => ({ data: png.subarray(0, 500) })),
  }),
  ({ pick }, { png }) => ({ images: [{ data: png, view: pick([4, 99, -1]) as never }] }),
  ({ pick }) => ({ requestId: pick(texts) }),
  ({ pick }) => ({ indication: pick(texts) }),
  ({ pick }) => ({ release: pick(texts) }),
  ({ pick }) => ({ channel: pick(texts) }),
  ({ pick }) => ({ variant: pick(texts) }),
  ({ pick }) => ({ priority: pick([3, 99, -1]) as never }),
  ({ pick }) => ({
    decoding: {
      [pick(['beams', 'topK', 'seed', 'noRepeatNgram', 'minTokens', 'maxTokens'])]: pick(
        numbers.filter((value) => Number.isInteger(value)),
      ),
    },
  }),
  ({ pick }) => ({
    decoding: {
      [pick(['lengthPenalty', 'temperature', 'topP', 'repetitionPenalty'])]: pick(numbers),
    },
  }),
  ({ pick }) => ({
    decoding: { [pick(['strategy', 'earlyStopping'])]: pick([5, 99, -1]) as never },
  }),
];

/** Requests that are wrong in one field each, all fields in turn; a few come out right by chance. */
export function malformed(
  seed: number,
  count: number,
  files: { readonly png: Buffer; readonly dicom: Buffer },
): Request[] {
  const draw = drawing(seed);
  return Array.from({ length: count }, (_, index) => ({
    images: [{ data: files.png }],
    ...mutations[index % mutations.length]!(draw, files),
  }));
}

/** A valid message with flipped bits, cut off, or replaced. */
export function damaged(seed: number, count: number, valid: Buffer): Buffer[] {
  const { random, pick, bytes } = drawing(seed);
  return Array.from({ length: count }, () => {
    const flipped = Buffer.from(valid);
    for (let flips = 0; flips < 4; flips += 1) {
      flipped[Math.floor(random() * valid.length)]! ^= 1 << Math.floor(random() * 8);
    }
    return pick([flipped, valid.subarray(0, Math.floor(random() * valid.length)), bytes(200)]);
  });
}
