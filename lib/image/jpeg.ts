import { corrupt, isFrameMarker, jpegSegments, readJpegHeader } from './jpeg-header.ts';
import type { Segment } from './jpeg-header.ts';

/**
 * The two JPEG processes of DICOM that no library decodes safely: sequential DCT of more than 8 bits
 * (process 4, transfer syntax 1.2.840.10008.1.2.4.51) and lossless (process 14, all seven predictors,
 * 1.2.840.10008.1.2.4.57 and .70). One grey component, Huffman coding, restart intervals. Source:
 * ISO/IEC 10918-1, whose figures the comments name.
 *
 * jpeg-lossless-decoder-js 2.1.2 was tried on our fixtures: it decodes every truncated file as if it
 * were whole, with invented pixels, ignores the point transform (all pixels of that file are wrong), and
 * loses the last pixel of another; by its source it also predicts across restarts. dcmjs-codecs 0.0.8
 * warns against clinical use and lists neither 12-bit sequential JPEG nor predictors other than 1.
 */
export function decodeJpeg(data: Uint8Array): Uint16Array {
  const { width, height, precision, marker } = readJpegHeader(data);
  const tables: Tables = { huffman: new Map(), quantization: new Map(), restartInterval: 0 };
  let scan: Segment | undefined;
  for (const segment of jpegSegments(data, 0)) {
    if (segment.marker === 0xc4) readHuffmanTables(data, segment, tables);
    else if (segment.marker === 0xdb) readQuantizationTables(data, segment, tables);
    else if (segment.marker === 0xdd) {
      tables.restartInterval = (data[segment.start]! << 8) | data[segment.start + 1]!;
    } else if (isFrameMarker(segment.marker)) {
      tables.quantizer = data[segment.start + 8]!;
    } else if (segment.marker === 0xda) scan = segment;
  }
  if (scan === undefined || data[scan.start] !== 1)
    throw corrupt('the JPEG scan is not of one component');
  const reader = new BitReader(data, scan.end);
  const selectors = data[scan.start + 2]!;
  const frame: Frame = {
    width,
    height,
    precision,
    dc: huffmanTable(tables, selectors >> 4),
    restartInterval: tables.restartInterval,
    samples: new Uint16Array(width * height),
  };
  if (marker === 0xc3) {
    decodeLossless(reader, frame, data[scan.start + 3]!, data[scan.start + 5]! & 15);
  } else {
    const quantization = tables.quantization.get(tables.quantizer ?? 0);
    if (quantization === undefined) throw corrupt('a JPEG quantization table is missing');
    decodeSequential(reader, frame, huffmanTable(tables, 0x10 | (selectors & 15)), quantization);
  }
  return frame.samples;
}

interface Tables {
  /** By class (0x00 DC or lossless, 0x10 AC) and identifier. */
  readonly huffman: Map<number, Uint16Array>;
  /** In zigzag order. */
  readonly quantization: Map<number, Uint16Array>;
  quantizer?: number;
  restartInterval: number;
}

interface Frame {
  readonly width: number;
  readonly height: number;
  readonly precision: number;
  readonly dc: Uint16Array;
  readonly restartInterval: number;
  readonly samples: Uint16Array;
}

function huffmanTable(tables: Tables, key: number): Uint16Array {
  const table = tables.huffman.get(key);
  if (table === undefined) throw corrupt('a JPEG Huffman table is missing');
  return table;
}

/** A table over the next 16 bits: code length << 8 | symbol; 0 for bits that begin no code. */
function readHuffmanTables(data: Uint8Array, { start, end }: Segment, tables: Tables): void {
  for (let at = start; at + 17 <= end;) {
    const lookup = new Uint16Array(65536);
    const key = data[at]!;
    const counts = data.subarray(at + 1, at + 17);
    at += 17;
    let next = 0;
    for (let length = 1; length <= 16; length++) {
      for (let index = 0; index < counts[length - 1]!; index++, at++) {
        const size = 1 << (16 - length);
        if (at >= end || next + size > 65536) throw corrupt('a JPEG Huffman table is damaged');
        lookup.fill((length << 8) | data[at]!, next, next + size);
        next += size;
      }
    }
    tables.huffman.set(key, lookup);
  }
}

function readQuantizationTables(data: Uint8Array, { start, end }: Segment, tables: Tables): void {
  for (let at = start; at < end;) {
    const bytes = data[at]! >> 4 === 0 ? 1 : 2;
    const key = data[at]! & 15;
    at += 1;
    if (at + 64 * bytes > end) throw corrupt('a JPEG quantization table is cut short');
    const table = new Uint16Array(64);
    for (let index = 0; index < 64; index++, at += bytes) {
      table[index] = bytes === 1 ? data[at]! : (data[at]! << 8) | data[at + 1]!;
    }
    tables.quantization.set(key, table);
  }
}

/** Reads bits of entropy-coded data; after a marker or the end it reads zeros and counts them. */
class BitReader {
  readonly #data: Uint8Array;
  #at: number;
  #bits = 0;
  #count = 0;
  #missing = 0;

  constructor(data: Uint8Array, at: number) {
    this.#data = data;
    this.#at = at;
  }

  #fill(): void {
    while (this.#count <= 24) {
      const byte = this.#data[this.#at];
      // A data byte of 0xff is followed by a stuffed zero (figure F.18).
      if (byte === undefined || (byte === 0xff && this.#data[this.#at + 1] !== 0)) {
        this.#missing += 8;
        this.#bits <<= 8;
      } else {
        this.#bits = (this.#bits << 8) | byte;
        this.#at += byte === 0xff ? 2 : 1;
      }
      this.#count += 8;
    }
  }

  symbol(table: Uint16Array): number {
    this.#fill();
    const entry = table[(this.#bits >>> (this.#count - 16)) & 0xffff]!;
    if (entry === 0) throw corrupt('the JPEG data holds an unknown Huffman code');
    this.#count -= entry >> 8;
    return entry & 0xff;
  }

  /** A signed value of `size` bits (figure F.12), `size` 0..16. */
  value(size: number): number {
    if (size === 0) return 0;
    this.#fill();
    this.#count -= size;
    const value = (this.#bits >>> this.#count) & ((1 << size) - 1);
    return value < 1 << (size - 1) ? value - (1 << size) + 1 : value;
  }

  /** Fails if bits were read that the data does not hold. */
  check(): void {
    if (this.#count < this.#missing) throw corrupt('the JPEG data ends early');
  }

  restart(): void {
    this.check();
    this.#count = 0;
    this.#missing = 0;
    while (this.#data[this.#at] === 0xff && this.#data[this.#at + 1] === 0xff) this.#at += 1;
    const marker = this.#data[this.#at + 1] ?? 0;
    if (this.#data[this.#at] !== 0xff || marker < 0xd0 || marker > 0xd7) {
      throw corrupt('a JPEG restart marker is missing');
    }
    this.#at += 2;
  }
}

/** Process 14 (annex H): differences to a prediction from left, above and above-left. */
function decodeLossless(reader: BitReader, frame: Frame, predictor: number, shift: number): void {
  const { width, height, precision, dc, restartInterval, samples } = frame;
  if (restartInterval % width !== 0) throw corrupt('a JPEG restart interval is not whole rows');
  if (predictor < 1 || predictor > 7) throw corrupt(`JPEG predictor ${predictor} does not exist`);
  const restartRows = restartInterval / width;
  // Row and reconstruction are kept unshifted: the point transform is undone on output only.
  let above = new Uint16Array(width);
  let row = new Uint16Array(width);
  for (let y = 0; y < height; y++) {
    const fresh = y === 0 || (restartRows > 0 && y % restartRows === 0);
    if (fresh && y > 0) reader.restart();
    for (let x = 0; x < width; x++) {
      const size = reader.symbol(dc);
      if (size > 16) throw corrupt('the JPEG data holds an impossible difference');
      const difference = size === 16 ? 32768 : reader.value(size);
      let prediction: number;
      if (x === 0) prediction = fresh ? 1 << (precision - shift - 1) : above[0]!;
      else if (fresh) prediction = row[x - 1]!;
      else prediction = predict(predictor, row[x - 1]!, above[x]!, above[x - 1]!);
      row[x] = prediction + difference;
      samples[y * width + x] = row[x]! << shift;
    }
    reader.check();
    [above, row] = [row, above];
  }
}

/** Table H.1. */
function predict(predictor: number, left: number, above: number, corner: number): number {
  switch (predictor) {
    case 1:
      return left;
    case 2:
      return above;
    case 3:
      return corner;
    case 4:
      return left + above - corner;
    case 5:
      return left + ((above - corner) >> 1);
    case 6:
      return above + ((left - corner) >> 1);
    default:
      return (left + above) >> 1;
  }
}

const zigzag = [
  0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
  13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52,
  45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
] as const;

/** Sequential DCT (annex F.2) of a scan of one component: blocks go row by row. */
function decodeSequential(
  reader: BitReader,
  frame: Frame,
  ac: Uint16Array,
  quantization: Uint16Array,
): void {
  const { width, height, precision, dc, restartInterval, samples } = frame;
  const columns = Math.ceil(width / 8);
  const coefficients = new Float64Array(64);
  const middle = 2 ** (precision - 1);
  const brightest = 2 ** precision - 1;
  let previous = 0;
  for (let block = 0; block < columns * Math.ceil(height / 8); block++) {
    if (restartInterval > 0 && block > 0 && block % restartInterval === 0) {
      reader.restart();
      previous = 0;
    }
    coefficients.fill(0);
    previous += reader.value(Math.min(16, reader.symbol(dc)));
    coefficients[0] = previous * quantization[0]!;
    for (let index = 1; index < 64; index++) {
      const code = reader.symbol(ac);
      const size = code & 15;
      if (size === 0 && code !== 0xf0) break;
      index += code >> 4;
      if (size === 0) continue;
      if (index > 63) throw corrupt('a JPEG block holds more than 64 coefficients');
      coefficients[zigzag[index]!] = reader.value(size) * quantization[index]!;
    }
    reader.check();
    inverseDct(coefficients);
    const [left, top] = [(block % columns) * 8, Math.floor(block / columns) * 8];
    for (let y = 0; y < Math.min(8, height - top); y++) {
      for (let x = 0; x < Math.min(8, width - left); x++) {
        const value = Math.round(coefficients[y * 8 + x]!) + middle;
        samples[(top + y) * width + left + x] = Math.max(0, Math.min(brightest, value));
      }
    }
  }
}

/** basis[8 u + x] = C(u) / 2 cos((2x + 1) u pi / 16), section A.3.3. */
const basis = Float64Array.from({ length: 64 }, (_, index) => {
  const frequency = index >> 3;
  const scale = frequency === 0 ? Math.SQRT1_2 / 2 : 1 / 2;
  return scale * Math.cos(((2 * (index & 7) + 1) * frequency * Math.PI) / 16);
});

const line = new Float64Array(8);

/** Separable and in double precision, so it rounds as the exact transform does. */
function inverseDct(block: Float64Array): void {
  for (const [step, stride] of [
    [8, 1],
    [1, 8],
  ] as const) {
    for (let index = 0; index < 8; index++) {
      const start = index * step;
      line.fill(0);
      for (let frequency = 0; frequency < 8; frequency++) {
        const coefficient = block[start + frequency * stride]!;
        if (coefficient === 0) continue;
        for (let x = 0; x < 8; x++) line[x]! += coefficient * basis[frequency * 8 + x]!;
      }
      for (let x = 0; x < 8; x++) block[start + x * stride] = line[x]!;
    }
  }
}
