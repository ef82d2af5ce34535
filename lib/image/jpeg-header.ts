import { ImageRefused } from './limits.ts';

/** The header of a codestream, read before anything is expanded. */
export interface FrameHeader {
  readonly width: number;
  readonly height: number;
  readonly components: number;
  /** Bits of a sample. */
  readonly precision: number;
  /** The JPEG frame marker's second byte (SOF0 = 0xc0); undefined for JPEG 2000. */
  readonly marker?: number;
  /** Tiles of JPEG 2000. */
  readonly tiles?: number;
}

export interface Segment {
  /** Second byte of the marker. */
  readonly marker: number;
  /** The segment's content, after its length. */
  readonly start: number;
  readonly end: number;
}

/**
 * The marker segments of a JPEG family codestream up to and with the next start of scan, from
 * `offset` (ISO/IEC 10918-1 annex B).
 */
export function* jpegSegments(data: Uint8Array, offset: number): Generator<Segment> {
  let at = offset;
  while (at + 4 <= data.length) {
    const marker = data[at + 1]!;
    if (data[at] !== 0xff) throw corrupt('a JPEG marker was expected');
    if (marker === 0xff) at += 1;
    else if (marker === 0xd8) at += 2;
    else {
      const length = (data[at + 2]! << 8) | data[at + 3]!;
      const end = at + 2 + length;
      if (length < 2 || end > data.length) throw corrupt('a JPEG segment ends outside the data');
      yield { marker, start: at + 4, end };
      if (marker === 0xda) return;
      at = end;
    }
  }
  throw corrupt('the JPEG data ends before its first scan');
}

/** Every SOF marker; 0xc4, 0xc8 and 0xcc are other segments, 0xf7 is JPEG-LS. */
export const isFrameMarker = (marker: number): boolean =>
  (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) || marker === 0xf7;

/** Reads the frame header of a JPEG or JPEG-LS codestream. */
export function readJpegHeader(data: Uint8Array): FrameHeader {
  if (data[0] !== 0xff || data[1] !== 0xd8) throw corrupt('the data does not start as JPEG');
  for (const { marker, start, end } of jpegSegments(data, 0)) {
    if (!isFrameMarker(marker)) continue;
    if (end - start < 6) throw corrupt('the JPEG frame header is cut short');
    return {
      marker,
      precision: data[start]!,
      height: (data[start + 1]! << 8) | data[start + 2]!,
      width: (data[start + 3]! << 8) | data[start + 4]!,
      components: data[start + 5]!,
    };
  }
  throw corrupt('the JPEG data has no frame header');
}

/** Reads the SIZ segment of a JPEG 2000 codestream (ISO/IEC 15444-1 annex A.5.1). */
export function readJpeg2000Header(data: Uint8Array): FrameHeader {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  if (data.length < 45 || view.getUint32(0) !== 0xff4fff51) {
    throw corrupt('the data does not start as a JPEG 2000 codestream');
  }
  const [width, height, left, top, tileWidth, tileHeight, tileLeft, tileTop] = Array.from(
    { length: 8 },
    (_, index) => view.getUint32(8 + 4 * index),
  ) as [number, number, number, number, number, number, number, number];
  return {
    width: width - left,
    height: height - top,
    components: view.getUint16(40),
    precision: (data[42]! & 0x7f) + 1,
    tiles: Math.ceil((width - tileLeft) / tileWidth) * Math.ceil((height - tileTop) / tileHeight),
  };
}

export function corrupt(message: string): ImageRefused {
  return new ImageRefused('IMAGE_CORRUPT', message);
}
