import sharp from 'sharp';
import type { DecodedImage } from './decoded.ts';
import { type Preprocessing, parsePreprocessing } from './preprocessing.ts';

// The settings are in their own file, so that readers of a release do not load the image library.
export { type Preprocessing, imagenet, parsePreprocessing } from './preprocessing.ts';

/**
 * A radiograph at the size that a vision model reads: grey 0..65535, row-major, height x width of
 * `spec`. lib/inference/normalization.ts makes its input of it.
 *
 * @throws {DomainError} As `parsePreprocessing`.
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
    limitInputPixels: false, // the decoder limits the pixels
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

interface Size {
  readonly width: number;
  readonly height: number;
}
interface Box extends Size {
  readonly left: number;
  readonly top: number;
}

/** Which part of the image goes to which part of the output; cropping comes before resizing. */
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
