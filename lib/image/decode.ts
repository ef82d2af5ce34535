import type { DecodedImage } from './decoded.ts';
import { decodeOnWorker } from './pool.ts';
import { decodeRaster } from './raster.ts';
import { defaultLimits, ImageRefused, refusal } from './limits.ts';
import type { ImageLimits } from './limits.ts';

interface DecodeOptions {
  readonly limits?: ImageLimits;
  /** How errors name the input, e.g. `images[0].data`. */
  readonly field?: string;
}

/**
 * Decodes a chest radiograph: JPEG, PNG (8 and 16 bit), TIFF, or DICOM Part 10. The format is read
 * from the bytes. JPEG, PNG and TIFF are decoded on libvips' threads; DICOM on worker threads of our own,
 * because its codecs are synchronous and would block every other request of the process; a worker over
 * the time limit is terminated. `bytes` is not modified.
 *
 * @throws {DomainError} INVALID_ARGUMENT with a reason that starts with IMAGE_ or DICOM_.
 */
export async function decodeImage(
  bytes: Uint8Array,
  options: DecodeOptions = {},
): Promise<DecodedImage> {
  const { limits = defaultLimits, field = 'image' } = options;
  try {
    if (bytes.length > limits.maxBytes) {
      throw new ImageRefused(
        'IMAGE_TOO_LARGE',
        `got ${bytes.length} bytes, expected at most ${limits.maxBytes}`,
      );
    }
    const format = detectFormat(bytes);
    return format === 'dicom'
      ? await decodeOnWorker(bytes, limits)
      : await decodeRaster(bytes, format, limits);
  } catch (thrown) {
    throw refusal(thrown, field);
  }
}

const signatures: readonly { format: DecodedImage['format']; offset: number; bytes: string }[] = [
  // First, because a DICOM preamble may hold a TIFF header (PS3.10 section 7.1).
  { format: 'dicom', offset: 128, bytes: 'DICM' },
  { format: 'jpeg', offset: 0, bytes: '\xff\xd8\xff' },
  { format: 'png', offset: 0, bytes: '\x89PNG\r\n\x1a\n' },
  { format: 'tiff', offset: 0, bytes: 'II*\0' },
  { format: 'tiff', offset: 0, bytes: 'MM\0*' },
  { format: 'tiff', offset: 0, bytes: 'II+\0' },
  { format: 'tiff', offset: 0, bytes: 'MM\0+' },
];

/** The number of first bytes that `formatOf` needs to recognize every format. */
export const headBytes = 132;

/** The format of a file, from its first bytes; undefined for formats that are not decoded. */
export function formatOf(bytes: Uint8Array): DecodedImage['format'] | undefined {
  return signatures.find((signature) =>
    Array.from(signature.bytes).every(
      (character, index) => bytes[signature.offset + index] === character.charCodeAt(0),
    ),
  )?.format;
}

function detectFormat(bytes: Uint8Array): DecodedImage['format'] {
  const format = formatOf(bytes);
  if (format === undefined) {
    throw new ImageRefused(
      'IMAGE_FORMAT_UNSUPPORTED',
      `${bytes.length} bytes of an unknown format; expected JPEG, PNG, TIFF or DICOM Part 10`,
    );
  }
  return format;
}
