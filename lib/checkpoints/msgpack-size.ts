import { truncated, unsafe } from './foreign.ts';

/** A state dict nests by the parts of its names. */
const maxDepth = 64;
/** A paper-size model has a few hundred tensors, each a few entries. */
const maxEntries = 1_000_000;

/** What a value states about itself: the entries that follow it, or its own bytes. */
interface Stated {
  readonly entries: number;
  readonly bytes: number;
}

/** Lengths of the types from 0xc0 on: [bytes of the length field, fixed bytes, is it a container]. */
const types: Readonly<Record<number, readonly [lengthBytes: number, fixed: number, per: number]>> =
  {
    0xc4: [1, 0, 0],
    0xc5: [2, 0, 0],
    0xc6: [4, 0, 0],
    0xc7: [1, 1, 0],
    0xc8: [2, 1, 0],
    0xc9: [4, 1, 0],
    0xca: [0, 4, 0],
    0xcb: [0, 8, 0],
    0xcc: [0, 1, 0],
    0xcd: [0, 2, 0],
    0xce: [0, 4, 0],
    0xcf: [0, 8, 0],
    0xd0: [0, 1, 0],
    0xd1: [0, 2, 0],
    0xd2: [0, 4, 0],
    0xd3: [0, 8, 0],
    0xd4: [0, 2, 0],
    0xd5: [0, 3, 0],
    0xd6: [0, 5, 0],
    0xd7: [0, 9, 0],
    0xd8: [0, 17, 0],
    0xd9: [1, 0, 0],
    0xda: [2, 0, 0],
    0xdb: [4, 0, 0],
    0xdc: [2, 0, 1],
    0xdd: [4, 0, 1],
    0xde: [2, 0, 2],
    0xdf: [4, 0, 2],
  };

function stated(view: DataView, at: number, first: number): Stated {
  if (first < 0x80 || first >= 0xe0) return { entries: 0, bytes: 1 };
  if (first < 0x90) return { entries: 2 * (first & 0x0f), bytes: 1 };
  if (first < 0xa0) return { entries: first & 0x0f, bytes: 1 };
  if (first < 0xc0) return { entries: 0, bytes: 1 + (first & 0x1f) };
  const [lengthBytes, fixed, per] = types[first] ?? [0, 0, 0];
  if (at + 1 + lengthBytes > view.byteLength) return { entries: 0, bytes: Infinity };
  const length =
    lengthBytes === 0
      ? 0
      : lengthBytes === 1
        ? view.getUint8(at + 1)
        : lengthBytes === 2
          ? view.getUint16(at + 1)
          : view.getUint32(at + 1);
  const head = 1 + lengthBytes + fixed;
  return per === 0 ? { entries: 0, bytes: head + length } : { entries: per * length, bytes: head };
}

/**
 * Walks over a msgpack message without building it. Throws INVALID_ARGUMENT for one that would take
 * more memory than its file (nested deeper, or with more entries, than a state dict), and for one that
 * states more bytes than there are.
 */
export function measureMessage(path: string, bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  /** Entries still to come of each container around the current one. */
  const open: number[] = [1];
  let total = 0;
  for (let at = 0; open.length > 0;) {
    const left = open.at(-1) as number;
    if (left === 0) {
      open.pop();
      continue;
    }
    open[open.length - 1] = left - 1;
    if (at >= bytes.length)
      throw truncated(path, 'the message ends before all the bytes it states');
    const { entries, bytes: length } = stated(view, at, view.getUint8(at));
    at += length;
    if (at > bytes.length) throw truncated(path, 'the message ends before all the bytes it states');
    total += entries;
    if (total > maxEntries) {
      throw unsafe(path, `states more than ${maxEntries} entries: no state dict has that many`);
    }
    if (entries > 0) open.push(entries);
    if (open.length > maxDepth) {
      throw unsafe(path, `is nested more than ${maxDepth} deep: no state dict is nested that deep`);
    }
  }
}
