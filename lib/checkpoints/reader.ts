import { readSync } from 'node:fs';
import { truncated } from './foreign.ts';

/** Reads bytes at a position; fewer than requested are returned only at the end. */
export type ByteSource = (position: number, length: number) => Uint8Array;

const chunkBytes = 1 << 16;

export const bufferSource =
  (buffer: Uint8Array): ByteSource =>
  (position, length) =>
    buffer.subarray(position, position + length);

export const fileSource =
  (descriptor: number): ByteSource =>
  (position, length) => {
    // A damaged file may state a position that no file can have.
    if (!Number.isSafeInteger(position + length)) return new Uint8Array();
    const chunk = new Uint8Array(length);
    let done = 0;
    while (done < length) {
      const count = readSync(descriptor, chunk, done, length - done, position + done);
      if (count === 0) break;
      done += count;
    }
    return chunk.subarray(0, done);
  };

/** Reads little-endian numbers, lines and bytes one after the other, through a small window. */
export class ByteReader {
  readonly #path: string;
  readonly #source: ByteSource;
  #window: Uint8Array = new Uint8Array();
  #start = 0;
  position: number;

  constructor(path: string, source: ByteSource, position = 0) {
    this.#path = path;
    this.#source = source;
    this.position = position;
  }

  byte(): number {
    const offset = this.position - this.#start;
    const known = this.#window[offset];
    if (known !== undefined && offset >= 0) {
      this.position++;
      return known;
    }
    return this.bytes(1)[0] as number;
  }

  bytes(length: number): Uint8Array {
    const offset = this.position - this.#start;
    if (offset < 0 || offset + length > this.#window.length) {
      // A stated length is checked against the source before that much is allocated.
      this.#window = this.#read(Math.max(length, chunkBytes), length);
      this.#start = this.position;
    }
    const at = this.position - this.#start;
    this.position += length;
    return this.#window.subarray(at, at + length);
  }

  #read(length: number, needed: number): Uint8Array {
    const last = this.#source(this.position + Math.max(needed - 1, 0), Math.min(needed, 1));
    const found = last.length < Math.min(needed, 1) ? last : this.#source(this.position, length);
    if (found.length < needed) {
      throw truncated(this.#path, `the file ends where ${needed} more bytes were expected`);
    }
    return found;
  }

  /** Up to the next newline, without it. */
  line(): string {
    const codes: number[] = [];
    for (;;) {
      const code = this.byte();
      if (code === 0x0a) return Buffer.from(codes).toString('utf8');
      if (codes.length === 4096) throw truncated(this.#path, 'a line of its pickle has no end');
      codes.push(code);
    }
  }

  #view(length: number): DataView {
    const bytes = this.bytes(length);
    return new DataView(bytes.buffer, bytes.byteOffset, length);
  }

  uint16(): number {
    return this.#view(2).getUint16(0, true);
  }

  uint32(): number {
    return this.#view(4).getUint32(0, true);
  }

  int32(): number {
    return this.#view(4).getInt32(0, true);
  }

  /** As a number: one too large for any file is rounded, and its bytes are then missing. */
  uint64(): number {
    return Number(this.#view(8).getBigUint64(0, true));
  }

  float64BigEndian(): number {
    return this.#view(8).getFloat64(0);
  }
}
