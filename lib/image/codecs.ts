import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { checkPixels, ImageRefused } from './limits.ts';
import type { ImageLimits } from './limits.ts';
import { decodeJpeg } from './jpeg.ts';
import { corrupt, readJpeg2000Header, readJpegHeader } from './jpeg-header.ts';
import type { FrameHeader } from './jpeg-header.ts';

/** The layout of the stored samples, from the DICOM attributes. */
interface FrameLayout {
  readonly rows: number;
  readonly columns: number;
  readonly bitsAllocated: 8 | 16;
  /** Uncompressed cells are in words of 16 bits, the high byte first. */
  readonly bigEndian: boolean;
}

/** Decoded cells; the low `cellBits` of each are the sample, the rest may be sign extension. */
interface Cells {
  readonly cells: Uint8Array | Uint16Array;
  readonly cellBits: number;
}

type Codec = (
  frame: Uint8Array,
  layout: FrameLayout,
  limits: ImageLimits,
) => Promise<Cells> | Cells;

/** One row a transfer syntax (PS3.5 section 10 and annex A). */
export const codecs: Readonly<Record<string, Codec>> = {
  '1.2.840.10008.1.2': uncompressed, // implicit VR little endian
  '1.2.840.10008.1.2.1': uncompressed, // explicit VR little endian
  '1.2.840.10008.1.2.1.99': uncompressed, // deflated explicit VR little endian
  '1.2.840.10008.1.2.2': uncompressed, // explicit VR big endian
  '1.2.840.10008.1.2.5': runLength, // RLE lossless
  '1.2.840.10008.1.2.4.50': jpeg, // JPEG baseline (process 1)
  '1.2.840.10008.1.2.4.51': jpeg, // JPEG extended (processes 2 and 4)
  '1.2.840.10008.1.2.4.57': jpeg, // JPEG lossless (process 14)
  '1.2.840.10008.1.2.4.70': jpeg, // JPEG lossless, first-order prediction
  '1.2.840.10008.1.2.4.80': jpegLs, // JPEG-LS lossless
  '1.2.840.10008.1.2.4.81': jpegLs, // JPEG-LS near-lossless
  '1.2.840.10008.1.2.4.90': jpeg2000, // JPEG 2000 lossless
  '1.2.840.10008.1.2.4.91': jpeg2000, // JPEG 2000
};

function uncompressed(frame: Uint8Array, layout: FrameLayout): Cells {
  const { rows, columns, bitsAllocated, bigEndian } = layout;
  const count = rows * columns;
  const size = (count * bitsAllocated) / 8;
  if (frame.length < size) {
    throw corrupt(`the pixel data has ${frame.length} bytes; expected ${size}`);
  }
  const bytes = Buffer.from(frame.subarray(0, size + (size % 2))); // a copy, which is aligned
  if (bigEndian) bytes.swap16();
  const Cells = bitsAllocated === 8 ? Uint8Array : Uint16Array;
  return { cells: new Cells(bytes.buffer, bytes.byteOffset, count), cellBits: bitsAllocated };
}

/** PackBits by byte planes, the most significant first (PS3.5 annex G). */
function runLength(frame: Uint8Array, { rows, columns, bitsAllocated }: FrameLayout): Cells {
  const planes = bitsAllocated / 8;
  if (frame.length < 64) throw corrupt('the RLE header is cut short');
  const header = new DataView(frame.buffer, frame.byteOffset, 64);
  if (header.getUint32(0, true) !== planes) {
    throw corrupt(`got ${header.getUint32(0, true)} RLE segments; expected ${planes}`);
  }
  const cells = new Uint16Array(rows * columns);
  for (let plane = 0; plane < planes; plane++) {
    let from = header.getUint32(4 + 4 * plane, true);
    for (let at = 0; at < cells.length;) {
      const control = frame[from++];
      if (control === undefined) throw corrupt('an RLE segment ends early');
      const literal = control < 128;
      const length = control === 128 ? 0 : literal ? control + 1 : 257 - control;
      if (at + length > cells.length || from + (literal ? length : 1) > frame.length) {
        throw corrupt('an RLE segment does not fit the image');
      }
      for (let index = 0; index < length; index++, at++) {
        cells[at] = (cells[at]! << 8) | frame[literal ? from + index : from]!;
      }
      from += literal ? length : length > 0 ? 1 : 0;
    }
  }
  return { cells, cellBits: bitsAllocated };
}

/** The frame header selects the process: many files state a wrong JPEG transfer syntax. */
function jpeg(frame: Uint8Array, layout: FrameLayout, limits: ImageLimits): Promise<Cells> | Cells {
  const header = readJpegHeader(frame);
  checkHeader(header, layout, limits);
  const { marker, precision } = header;
  if (precision === 8 && (marker === 0xc0 || marker === 0xc1 || marker === 0xc2)) {
    return wasm('jpeg', frame, header);
  }
  const lossless = marker === 0xc3 && precision >= 2 && precision <= 16;
  if (!lossless && !(marker === 0xc1 && precision === 12)) {
    throw new ImageRefused(
      'DICOM_JPEG_PROCESS_UNSUPPORTED',
      `JPEG frame marker 0x${marker?.toString(16)} of ${precision} bits; expected baseline, extended or lossless`,
    );
  }
  return { cells: decodeJpeg(frame), cellBits: precision };
}

function jpegLs(frame: Uint8Array, layout: FrameLayout, limits: ImageLimits): Promise<Cells> {
  const header = readJpegHeader(frame);
  if (header.marker !== 0xf7) throw corrupt('the data is not JPEG-LS');
  checkHeader(header, layout, limits);
  return wasm('jpegLs', frame, header);
}

/** OpenJPEG allocates the tiles of an image before it reads them. */
const maxTiles = 4096;

function jpeg2000(frame: Uint8Array, layout: FrameLayout, limits: ImageLimits): Promise<Cells> {
  // Some writers wrap the codestream in a JP2 file, which PS3.5 section 8.2.4 forbids.
  const start = Buffer.from(frame.buffer, frame.byteOffset, Math.min(frame.length, 4096)).indexOf(
    'ff4fff51',
    'hex',
  );
  const codestream = frame.subarray(Math.max(0, start));
  const header = readJpeg2000Header(codestream);
  checkHeader(header, layout, limits);
  if (!((header.tiles ?? 0) > 0 && header.tiles! <= maxTiles)) {
    throw corrupt(`the JPEG 2000 header states ${header.tiles} tiles; expected 1 to ${maxTiles}`);
  }
  return wasm('jpeg2000', codestream, header);
}

/** A codestream states its own size, which may be false; nothing is expanded before both headers agree. */
function checkHeader(header: FrameHeader, layout: FrameLayout, limits: ImageLimits): void {
  checkPixels(header.width, header.height, limits);
  if (header.width !== layout.columns || header.height !== layout.rows) {
    throw corrupt(
      `the compressed data is ${header.width} x ${header.height} pixels; the DICOM attributes say ${layout.columns} x ${layout.rows}`,
    );
  }
  if (header.components !== 1 || header.precision > 16) {
    throw corrupt(
      `the compressed data has ${header.components} components of ${header.precision} bits; expected 1 of at most 16`,
    );
  }
}

/** The interface of the three codecs of cornerstone. */
interface WasmDecoder {
  getEncodedBuffer(length: number): Uint8Array;
  decode(): void;
  getDecodedBuffer(): Uint8Array;
}
type WasmFactory = (options: {
  instantiateWasm(imports: object, receive: (instance: { exports: object }) => void): object;
  print(): void;
  printErr(): void;
}) => Promise<Record<string, new () => WasmDecoder>>;

/** TypeScript declares it with the types of the DOM only. */
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object, imports: object) => { exports: object };
};

const require = createRequire(import.meta.url);

const wasmCodecs = {
  jpeg: {
    script: require.resolve('@cornerstonejs/codec-libjpeg-turbo-8bit/decodewasmjs'),
    binary: require.resolve('@cornerstonejs/codec-libjpeg-turbo-8bit/decodewasm'),
    decoder: 'JPEGDecoder',
  },
  jpegLs: {
    script: require.resolve('@cornerstonejs/codec-charls/decodewasmjs'),
    binary: require.resolve('@cornerstonejs/codec-charls/decodewasm'),
    decoder: 'JpegLSDecoder',
  },
  jpeg2000: {
    script: require.resolve('@cornerstonejs/codec-openjpeg/decodewasmjs'),
    binary: require.resolve('@cornerstonejs/codec-openjpeg/decodewasm'),
    decoder: 'J2KDecoder',
  },
} as const;

const compiled = new Map<string, object>();

function compile(binary: string): object {
  const module = compiled.get(binary) ?? new WebAssembly.Module(readFileSync(binary));
  compiled.set(binary, module);
  return module;
}

/**
 * Every image gets its own instance of the codec: the memory of an instance never shrinks, and after a
 * failure on damaged data its state is unknown. An instance takes about 2 ms.
 */
async function wasm(
  name: keyof typeof wasmCodecs,
  frame: Uint8Array,
  { width, height, precision }: FrameHeader,
): Promise<Cells> {
  const { script, binary, decoder: decoderName } = wasmCodecs[name];
  const factory = require(script) as WasmFactory;
  const codec = await factory({
    instantiateWasm(imports, receive) {
      const instance = new WebAssembly.Instance(compile(binary), imports);
      receive(instance);
      return instance.exports;
    },
    // Codecs report damage on the console as well as by an exception.
    print: () => {},
    printErr: () => {},
  });
  const decoder = new codec[decoderName]!();
  decoder.getEncodedBuffer(frame.length).set(frame);
  decoder.decode();
  const decoded = decoder.getDecodedBuffer();
  const count = width * height;
  const size = precision > 8 ? 2 * count : count;
  if (decoded.length < size) throw corrupt('the compressed data ends early');
  const bytes = Uint8Array.from(decoded.subarray(0, size));
  return {
    cells: precision > 8 ? new Uint16Array(bytes.buffer) : bytes,
    cellBits: precision,
  };
}
