import sharp from 'sharp';
import { checkPixels, ImageRefused } from './limits.ts';
import type { ImageLimits } from './limits.ts';
import type { DecodedImage, RasterFormat } from './decoded.ts';

// No image is decoded twice, and libvips would keep the pixels of the last ones.
sharp.cache(false);

/**
 * Decodes JPEG, PNG or TIFF with libvips. 16-bit samples are kept; 8-bit samples are spread over 0..65535
 * (times 257). Transparent pixels are blended with black. Colour becomes grey by the luma of ITU-R BT.601,
 * so that a grey image stored as colour keeps its values exactly; colour profiles are not applied, for
 * the same reason.
 */
export async function decodeRaster(
  bytes: Uint8Array,
  format: RasterFormat,
  limits: ImageLimits,
): Promise<DecodedImage> {
  const source = sharp(bytes, {
    limitInputPixels: false, // `checkPixels` refuses with a better message, before decoding
    failOn: 'truncated',
    ignoreIcc: true,
    sequentialRead: true,
  });
  const header = await source.metadata();
  checkPixels(header.width, header.height, limits);
  if ((header.pages ?? 1) > 1) {
    throw new ImageRefused(
      'IMAGE_MULTI_PAGE',
      `the ${format} file holds ${header.pages} pages; expected a single image`,
    );
  }
  if (header.depth !== 'uchar' && header.depth !== 'ushort') {
    throw new ImageRefused(
      'IMAGE_SAMPLE_UNSUPPORTED',
      `samples of type ${header.depth}; expected unsigned samples of at most 16 bits`,
    );
  }
  const deep = header.depth === 'ushort';
  const { data, info } = await source
    .autoOrient()
    .flatten({ background: '#000' })
    .toColourspace(header.channels < 3 ? (deep ? 'grey16' : 'b-w') : deep ? 'rgb16' : 'srgb')
    .raw({ depth: header.depth })
    .timeout({ seconds: Math.max(1, Math.ceil(limits.maxTimeMs / 1000)) })
    .toBuffer({ resolveWithObject: true })
    .catch(timedOut);
  const samples = deep
    ? new Uint16Array(data.buffer, data.byteOffset, data.length / 2)
    : new Uint8Array(data.buffer, data.byteOffset, data.length);
  return {
    width: info.width,
    height: info.height,
    pixels: luma(samples, info.channels, deep ? 1 : 257),
    format,
    bitsStored: header.bitsPerSample ?? (deep ? 16 : 8),
    view: undefined,
    laterality: undefined,
  };
}

function timedOut(error: Error): never {
  if (!error.message.includes('timeout')) throw error;
  throw new ImageRefused('IMAGE_TIME_LIMIT', 'decoding took longer than the limit allows');
}

function luma(samples: Uint8Array | Uint16Array, channels: number, scale: number) {
  const pixels = new Uint16Array(samples.length / channels);
  if (channels === 1) {
    for (let index = 0; index < pixels.length; index++) pixels[index] = samples[index]! * scale;
    return pixels;
  }
  for (let index = 0, at = 0; index < pixels.length; index++, at += channels) {
    const [red, green, blue] = [samples[at]!, samples[at + 1]!, samples[at + 2]!];
    pixels[index] = Math.floor((red * 299 + green * 587 + blue * 114 + 500) / 1000) * scale;
  }
  return pixels;
}
