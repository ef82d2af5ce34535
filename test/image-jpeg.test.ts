import test from 'ava';
import { decodeJpeg } from '../lib/image/jpeg.ts';

/**
 * What dcmtk never writes: restart intervals, differences of 16 bits, 16-bit quantization tables.
 * Every code of this encoder has 5 bits, and is the symbol itself.
 */
class Scan {
  readonly #bytes: number[] = [];
  #bits = '';

  value(value: number, extraBits = ''): void {
    const size = value === 32768 ? 16 : 32 - Math.clz32(Math.abs(value));
    const low = value < 0 ? value + 2 ** size - 1 : value;
    const coded = size === 0 || size === 16 ? '' : low.toString(2).padStart(size, '0');
    this.#bits += size.toString(2).padStart(5, '0') + coded + extraBits;
  }

  #flush(): void {
    const padded = this.#bits.padEnd(Math.ceil(this.#bits.length / 8) * 8, '1');
    for (const [bits] of padded.matchAll(/.{8}/g)) {
      const byte = Number.parseInt(bits, 2);
      this.#bytes.push(byte, ...(byte === 0xff ? [0] : []));
    }
    this.#bits = '';
  }

  restart(index: number): void {
    this.#flush();
    this.#bytes.push(0xff, 0xd0 + (index % 8));
  }

  end(): Buffer {
    this.#flush();
    return Buffer.from([...this.#bytes, 0xff, 0xd9]);
  }
}

const segment = (marker: number, content: readonly number[]) =>
  Buffer.from([0xff, marker, 0, content.length + 2, ...content]);
const huffman = (key: number) =>
  segment(0xc4, [
    key,
    ...Array.from({ length: 16 }, (_, index) => (index === 4 ? 17 : 0)), // codes by length
    ...Array.from({ length: 17 }, (_, symbol) => symbol),
  ]);

interface Frame {
  readonly marker: number;
  readonly precision: number;
  readonly width: number;
  readonly height: number;
  readonly restartInterval: number;
  /** Ss, Se, and Ah with Al, of the scan header. */
  readonly spectrum: readonly [number, number, number];
}

function file(frame: Frame, scan: Scan, tables: readonly Buffer[]): Buffer {
  const { marker, precision, width, height, restartInterval, spectrum } = frame;
  return Buffer.concat([
    Buffer.from([0xff, 0xd8]),
    ...tables,
    segment(0xdd, [0, restartInterval]),
    segment(marker, [precision, 0, height, 0, width, 1, 1, 0x11, 0]),
    segment(0xda, [1, 1, 0, ...spectrum]),
    scan.end(),
  ]);
}

/** The difference of 16-bit values as lossless JPEG codes it: modulo 65536, from -32767 to 32768. */
const wrapped = (difference: number) => {
  const low = difference & 0xffff;
  return low > 32768 ? low - 65536 : low;
};

test('Lossless JPEG starts again at every restart, and covers differences of 16 bits', (t) => {
  const rows = [
    [0, 65535, 32767, 65535, 1],
    [65535, 0, 32768, 0, 7],
    [32768, 0, 32768, 0, 32768],
    [1, 2, 3, 4, 65535],
  ];
  const scan = new Scan();
  rows.forEach((row, y) => {
    // An interval of two rows: the first of each predicts from 2^15, then from the left.
    if (y === 2) scan.restart(0);
    row.forEach((value, x) => {
      const above = y % 2 === 0 ? 32768 : rows[y - 1]![0]!;
      scan.value(wrapped(value - (x === 0 ? above : row[x - 1]!)));
    });
  });
  const frame: Frame = {
    marker: 0xc3,
    precision: 16,
    width: 5,
    height: 4,
    restartInterval: 10,
    spectrum: [1, 0, 0],
  };
  t.deepEqual(Array.from(decodeJpeg(file(frame, scan, [huffman(0)]))), rows.flat());
});

test('Sequential DCT forgets its DC prediction at every restart, and reads wide tables', (t) => {
  const scan = new Scan();
  const dc = [20, 24, -8, 0];
  dc.forEach((value, block) => {
    if (block === 2) scan.restart(0);
    scan.value(value - (block % 2 === 0 ? 0 : dc[block - 1]!), '00000');
  });
  const frame: Frame = {
    marker: 0xc1,
    precision: 12,
    width: 13,
    height: 9,
    restartInterval: 2,
    spectrum: [0, 63, 0],
  };
  const wide = segment(0xdb, [0x10, ...Array.from({ length: 64 }, () => [1, 64]).flat()]);
  const samples = decodeJpeg(file(frame, scan, [huffman(0), huffman(0x10), wide]));
  // A DC coefficient is 8 times its block's mean; the table multiplies by 320.
  const grey = (value: number) => 2048 + (value * 320) / 8;
  const expected = Array.from({ length: 13 * 9 }, (_, index) => {
    const [x, y] = [index % 13, Math.floor(index / 13)];
    return grey(dc[(y < 8 ? 0 : 2) + (x < 8 ? 0 : 1)]!);
  });
  t.deepEqual(Array.from(samples), expected);
});

test('Damage is named: early ends, unknown codes, missing tables and markers', (t) => {
  const frame: Frame = {
    marker: 0xc3,
    precision: 8,
    width: 2,
    height: 2,
    restartInterval: 0,
    spectrum: [1, 0, 0],
  };
  const scan = new Scan();
  scan.value(3);
  t.throws(() => decodeJpeg(file(frame, scan, [huffman(0)])), { message: /ends early|unknown/ });
  t.throws(() => decodeJpeg(file(frame, new Scan(), [])), { message: /Huffman table is missing/ });
  const restarts = { ...frame, restartInterval: 2 };
  const unmarked = new Scan();
  [0, 0, 0, 0].forEach((value) => unmarked.value(value));
  t.throws(() => decodeJpeg(file(restarts, unmarked, [huffman(0)])), { message: /restart marker/ });
});
