import { o } from '../graph/build.ts';
import type { Tensor } from '../graph/types.ts';
import { type Value, constantOf } from '../graph/value.ts';
import type { DecodedImage } from '../image/decoded.ts';
import { resize } from '../image/preprocess.ts';
import type { Preprocessing } from '../image/preprocessing.ts';

type Channels = Pick<Preprocessing, 'mean' | 'std'>;

/** For each channel, (grey - mean) / std as grey * scale - offset, with grey from 0 to 1. */
const scaleAndOffset = ({ mean, std }: Channels) => ({
  scale: std.map((value) => 1 / value),
  offset: mean.map((value, channel) => value / std[channel]!),
});

/** float32 [3, height, width] of grey 0..65535, row-major, as `resize` gives it. */
export function normalize(pixels: Uint16Array, spec: Preprocessing): Tensor<'float32'> {
  const { height, width } = spec;
  const { scale, offset } = scaleAndOffset(spec);
  const data = new Float32Array(3 * pixels.length);
  for (const [channel, perUnit] of scale.entries()) {
    const [perStep, lowest] = [perUnit / 65535, offset[channel]!];
    const first = channel * pixels.length;
    for (let index = 0; index < pixels.length; index++) {
      data[first + index] = pixels[index]! * perStep - lowest;
    }
  }
  return { dtype: 'float32', shape: [3, height, width], data };
}

/** The same within a graph: grey float32 [batch, 1, H, W] from 0 to 1 to [batch, 3, H, W]. */
export function normalizeInGraph(grey: Value, channels: Channels): Value {
  const { scale, offset } = scaleAndOffset(channels);
  const perChannel = (values: readonly number[]): Value =>
    constantOf(values, 'float32', [1, 3, 1, 1]);
  return o.Sub(o.Mul(grey, perChannel(scale)), perChannel(offset));
}

/**
 * A decoded image as a vision model reads it: float32 [3, height, width], the grey in each channel,
 * normalized. Deterministic.
 *
 * @throws {DomainError} As `parsePreprocessing`.
 */
export async function preprocess(
  image: DecodedImage,
  spec: Preprocessing,
): Promise<Tensor<'float32'>> {
  return normalize(await resize(image, spec), spec);
}
