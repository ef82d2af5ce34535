import { invalidArgument } from '../errors.ts';
import type { DomainError } from '../errors.ts';

/** The limits of one image. An image over a limit is refused before it is expanded. */
export interface ImageLimits {
  /** Encoded size in bytes. */
  readonly maxBytes: number;
  /** Width times height, as every header states it. */
  readonly maxPixels: number;
  /** Decoding time, not counting the time in the queue. */
  readonly maxTimeMs: number;
}

/** A detector of 43 x 43 cm at 100 um has 18.5 million pixels, 37 MB at 16 bits. */
export const defaultLimits: ImageLimits = {
  maxBytes: 64 * 1024 * 1024,
  maxPixels: 40_000_000,
  maxTimeMs: 10_000,
};

/**
 * A refusal inside a decoder, which does not know the field of the request; `refusal` turns it into a
 * DomainError.
 */
export class ImageRefused extends Error {
  readonly reason: string;

  constructor(reason: string, message: string) {
    super(message);
    this.reason = reason;
  }
}

/**
 * The DomainError (INVALID_ARGUMENT) for an error of a decoder. A codec's own message and cause are left
 * out: parsers put parts of the file into them, and those may identify a patient.
 */
export function refusal(thrown: unknown, field: string): DomainError {
  return thrown instanceof ImageRefused
    ? invalidArgument(thrown.reason, field, thrown.message)
    : invalidArgument('IMAGE_CORRUPT', field, 'the image data is damaged and cannot be decoded');
}

export function checkPixels(width: number, height: number, limits: ImageLimits): void {
  if (!(width > 0 && height > 0)) {
    throw new ImageRefused(
      'IMAGE_SIZE_INVALID',
      `the header states ${width} x ${height} pixels; both sides must be at least 1`,
    );
  }
  if (width * height > limits.maxPixels) {
    throw new ImageRefused(
      'IMAGE_TOO_LARGE',
      `the header states ${width} x ${height} pixels; at most ${limits.maxPixels} are decoded`,
    );
  }
}
