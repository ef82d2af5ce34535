import sharp from 'sharp';
import { invalidArgument } from '../errors.ts';
import type { Tensor } from '../graph/types.ts';
import type { DecodedImage } from './decode.ts';

const resizeModes = ['stretch', 'cover', 'contain'] as const;
const kernels = ['nearest', 'linear', 'cubic', 'mitchell', 'lanczos2', 'lanczos3'] as const;

/** What stands between a decoded radiograph and a vision model; part of a release, plain JSON. */
export interface Preprocessing {
  /** Pixels of the model's input. */
  readonly height: number;
  readonly width: number;
  /**
   * `stretch` changes the aspect ratio; `cover` keeps it and crops what sticks out, evenly on both
   * sides; `contain` keeps it and pads what stays empty, evenly on both sides.
   */
  readonly resize: (typeof resizeModes)[number];
  /** Grey of the padding of `contain`, 0 (black) to 1, before normalisation. */
  readonly pad: number;
  /** Interpolation; widened when the picture shrinks, against aliasing. */
  readonly kernel: (typeof kernels)[number];
  /** Per channel, of grey 0..1: x becomes (x - mean) / std. */
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
}

/** Of the pictures that the pretrained vision encoders saw. */
export const imagenet = {
  mean: [0.485, 0.456, 0.406],
  std: [0.229, 0.224, 0.225],
} as const satisfies Pick<Preprocessing, 'mean' | 'std'>;

const maxSide = 4096;

const isSide = (value: unknown) =>
  Number.isInteger(value) && (value as number) >= 1 && (value as number) <= maxSide;
const isTriple = (value: unknown, holds: (item: number) => boolean) =>
  Array.isArray(value) &&
  value.length === 3 &&
  value.every((item) => Number.isFinite(item) && holds(item as number));

const rules: Readonly<
  Record<keyof Preprocessing, { expected: string; holds: (value: unknown) => boolean }>
> = {
  height: { expected: `an integer from 1 to ${maxSide}`, holds: isSide },
  width: { expected: `an integer from 1 to ${maxSide}`, holds: isSide },
  resize: {
    expected: `one of ${resizeModes.join(', ')}`,
    holds: (value) => resizeModes.some((mode) => mode === value),
  },
  pad: {
    expected: 'a number from 0 to 1',
    holds: (value) => typeof value === 'number' && value >= 0 && value <= 1,
  },
  kernel: {
    expected: `one of ${kernels.join(', ')}`,
    holds: (value) => kernels.some((kernel) => kernel === value),
  },
  mean: { expected: 'three finite numbers', holds: (value) => isTriple(value, () => true) },
  std: {
    expected: 'three finite numbers above 0',
    holds: (value) => isTriple(value, (item) => item > 0),
  },
};

/**
 * Checks preprocessing that came as JSON, with a release or a config file.
 *
 * @param field how errors name it.
 * @throws {DomainError} INVALID_ARGUMENT, reason PREPROCESSING_INVALID, naming the wrong field.
 */
export function parsePreprocessing(json: unknown, field = 'preprocessing'): Preprocessing {
  const given: Record<string, unknown> = { ...(json as object | null) };
  for (const [name, { expected, holds }] of Object.entries(rules)) {
    if (holds(given[name])) continue;
    const came = given[name] === undefined ? 'is missing' : `is ${JSON.stringify(given[name])}`;
    throw invalidArgument(
      'PREPROCESSING_INVALID',
      `${field}.${name}`,
      `${came}; expected ${expected}`,
    );
  }
  const unknown = Object.keys(given).find((name) => !Object.hasOwn(rules, name));
  if (unknown !== undefined) {
    throw invalidArgument(
      'PREPROCESSING_INVALID',
      `${field}.${unknown}`,
      `is unknown; expected only ${Object.keys(rules).join(', ')}`,
    );
  }
  return given as unknown as Preprocessing;
}

/**
 * A radiograph as a vision model takes it: float32 [3, height, width], the grey in each channel,
 * normalised. Deterministic, and the same code trains and serves.
 *
 * @throws {DomainError} As `parsePreprocessing`.
 */
export async function preprocess(
  image: DecodedImage,
  spec: Preprocessing,
): Promise<Tensor<'float32'>> {
  return normalize(await resize(image, spec), spec);
}

/**
 * The first half of `preprocess`, for training to cache and augment: grey 0..65535, row-major,
 * height x width of `spec`.
 */
export async function resize(
  image: Pick<DecodedImage, 'width' | 'height' | 'pixels'>,
  spec: Preprocessing,
): Promise<Uint16Array> {
  const { height, width, resize: mode, kernel, pad } = parsePreprocessing(spec);
  const { source, target } = placement(image, { width, height }, mode);
  const { pixels } = image;
  const data = await sharp(pixels, {
    raw: { width: image.width, height: image.height, channels: 1 },
    limitInputPixels: false, // the decoder has limited them
  })
    .extract(source)
    .resize({ width: target.width, height: target.height, fit: 'fill', kernel })
    .toColourspace('grey16')
    .raw({ depth: 'ushort' })
    .toBuffer();
  const resized = new Uint16Array(data.buffer, data.byteOffset, target.width * target.height);
  const output = new Uint16Array(width * height).fill(Math.round(pad * 65535));
  for (let row = 0; row < target.height; row++) {
    output.set(
      resized.subarray(row * target.width, (row + 1) * target.width),
      (target.top + row) * width + target.left,
    );
  }
  return output;
}

/** The second half of `preprocess`: float32 [3, height, width] of what `resize` gives. */
export function normalize(pixels: Uint16Array, spec: Preprocessing): Tensor<'float32'> {
  const { height, width, mean, std } = spec;
  const data = new Float32Array(3 * pixels.length);
  for (let channel = 0; channel < 3; channel++) {
    const scale = 1 / (65535 * std[channel]!);
    const offset = mean[channel]! / std[channel]!;
    for (let index = 0, at = channel * pixels.length; index < pixels.length; index++, at++) {
      data[at] = pixels[index]! * scale - offset;
    }
  }
  return { dtype: 'float32', shape: [3, height, width], data };
}

interface Size {
  readonly width: number;
  readonly height: number;
}
interface Box extends Size {
  readonly left: number;
  readonly top: number;
}

/** Which part of the picture goes to which part of the output; cropping comes before resizing. */
function placement(image: Size, output: Size, mode: Preprocessing['resize']) {
  const whole = (size: Size): Box => ({ left: 0, top: 0, width: size.width, height: size.height });
  const [source, target] = [whole(image), whole(output)];
  if (mode === 'cover') return { source: centered(output, image), target };
  if (mode === 'contain') return { source, target: centered(image, output) };
  return { source, target };
}

/** The largest box of the shape of `shape` in the middle of `frame`, at least a pixel wide. */
function centered(shape: Size, frame: Size): Box {
  const scale = Math.min(frame.width / shape.width, frame.height / shape.height);
  const width = Math.max(1, Math.round(shape.width * scale));
  const height = Math.max(1, Math.round(shape.height * scale));
  return {
    left: Math.floor((frame.width - width) / 2),
    top: Math.floor((frame.height - height) / 2),
    width,
    height,
  };
}
