import { invalidArgument } from '../errors.ts';

const resizeModes = ['stretch', 'cover', 'contain'] as const;
const kernels = ['nearest', 'linear', 'cubic', 'mitchell', 'lanczos2', 'lanczos3'] as const;

/** How a decoded image becomes the input of a vision model; part of a release, plain JSON. */
export interface Preprocessing {
  /** Pixels of the model's input. */
  readonly height: number;
  readonly width: number;
  /**
   * `stretch` changes the aspect ratio; `cover` keeps it and crops both sides evenly; `contain`
   * keeps it and pads both sides evenly.
   */
  readonly resize: (typeof resizeModes)[number];
  /** Grey of the padding of `contain`, 0 (black) to 1, before normalization. */
  readonly pad: number;
  /** Interpolation; widened when the image shrinks, against aliasing. */
  readonly kernel: (typeof kernels)[number];
  /** Per channel, of grey 0..1: x becomes (x - mean) / std. */
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
}

/** Mean and standard deviation of ImageNet, on which vision backbones are pretrained. */
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
 * Checks preprocessing that was read as JSON, from a release or a config file.
 *
 * @param field how errors name it.
 * @throws {DomainError} INVALID_ARGUMENT, reason PREPROCESSING_INVALID, naming the invalid field.
 */
export function parsePreprocessing(json: unknown, field = 'preprocessing'): Preprocessing {
  const given: Record<string, unknown> = { ...(json as object | null) };
  for (const [name, { expected, holds }] of Object.entries(rules)) {
    if (holds(given[name])) continue;
    const received = given[name] === undefined ? 'is missing' : `is ${JSON.stringify(given[name])}`;
    throw invalidArgument(
      'PREPROCESSING_INVALID',
      `${field}.${name}`,
      `${received}; expected ${expected}`,
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
