import { crc32 } from 'node:zlib';
import type { Tensor } from '../../lib/graph/types.ts';

/** Checkpoint files as other programs write them, from our own bytes. */
export type State = ReadonlyMap<string, Tensor>;

const u16 = (value: number): Buffer => {
  const buffer = Buffer.alloc(2);
  buffer.writeUInt16LE(value);
  return buffer;
};
const u32 = (value: number): Buffer => {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32LE(value);
  return buffer;
};
const i64 = (value: number): Buffer => {
  const buffer = Buffer.alloc(8);
  buffer.writeBigInt64LE(BigInt(value));
  return buffer;
};
const ascii = (text: string): Buffer => Buffer.from(text, 'latin1');

/** A value of a pickle: plain data, or opcodes as they are. */
export type Pickled =
  | number
  | string
  | null
  | boolean
  | Buffer
  | readonly Pickled[]
  | ReadonlyMap<string, Pickled>;

const op = (...parts: readonly (string | Buffer)[]): Buffer =>
  Buffer.concat(parts.map((part) => (typeof part === 'string' ? ascii(part) : part)));

/** Opcodes that push a value; arrays become tuples. */
function opcodesOf(value: Pickled): Buffer {
  if (Buffer.isBuffer(value)) return value;
  if (value === null) return ascii('N');
  if (typeof value === 'boolean') return ascii(value ? '\x88' : '\x89');
  if (typeof value === 'number') return op('J', u32(value >>> 0));
  if (typeof value === 'string') {
    const text = Buffer.from(value);
    return op('X', u32(text.length), text);
  }
  if (value instanceof Map) {
    const items = [...(value as Map<string, Pickled>)].flat().map(opcodesOf);
    return op('}', '(', ...items, 'u');
  }
  return op('(', ...(value as readonly Pickled[]).map(opcodesOf), 't');
}

/** One pickle of protocol 2. */
export const pickle = (value: Pickled): Buffer => op('\x80\x02', opcodesOf(value), '.');
/** Opcodes: `module.name`, and a call of it. */
export const named = (module: string, name: string): Buffer => ascii(`c${module}\n${name}\n`);
export const called = (callee: Buffer, args: readonly Pickled[]): Buffer =>
  op(callee, opcodesOf(args), 'R');
/** An OrderedDict as PyTorch's state dicts are, with the attributes it carries. */
const orderedDict = (items: ReadonlyMap<string, Pickled>): Buffer =>
  op(
    called(named('collections', 'OrderedDict'), []),
    '(',
    ...[...items].flat().map(opcodesOf),
    'u',
    opcodesOf(new Map([['_metadata', 1]])),
    'b',
  );

const storageClasses: Readonly<Record<string, string>> = {
  float32: 'FloatStorage',
  float64: 'DoubleStorage',
  float16: 'HalfStorage',
  bfloat16: 'BFloat16Storage',
  int64: 'LongStorage',
};
const stridesOf = (shape: readonly number[]): number[] =>
  shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
const bytesOf = ({ data }: Tensor): Buffer =>
  Buffer.from(data.buffer, data.byteOffset, data.byteLength);

const storageClass = ({ dtype }: Tensor): Buffer =>
  named('torch', storageClasses[dtype] ?? 'FloatStorage');

/** `torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())` */
export const rebuilt = (
  value: Tensor,
  key: string,
  { shape, strides, size }: { shape?: number[]; strides?: number[]; size?: number } = {},
): Buffer =>
  called(named('torch._utils', '_rebuild_tensor_v2'), [
    op(opcodesOf(['storage', storageClass(value), key, 'cpu', size ?? value.data.length]), 'Q'),
    0,
    shape ?? [...value.shape],
    strides ?? stridesOf(shape ?? value.shape),
    false,
    called(named('collections', 'OrderedDict'), []),
  ]);

const stateDict = (state: State): Buffer =>
  orderedDict(new Map([...state].map(([name, value], i) => [name, rebuilt(value, String(i))])));

/** A zip archive of stored files. */
function zip(files: ReadonlyMap<string, Buffer>): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [name, bytes] of files) {
    const common = op(u16(20), u16(0), u16(0), u16(0), u16(0x21), u32(crc32(bytes)));
    const sizes = op(u32(bytes.length), u32(bytes.length), u16(name.length), u16(0));
    const local = op('PK\x03\x04', common, sizes, name, bytes);
    const rest = op(u16(0), u16(0), u16(0), u32(0), u32(offset));
    directory.push(op('PK\x01\x02', u16(20), common, sizes, rest, name));
    parts.push(local);
    offset += local.length;
  }
  const list = Buffer.concat(directory);
  const counts = op(u16(0), u16(0), u16(files.size), u16(files.size));
  const end = op('PK\x05\x06', counts, u32(list.length), u32(offset), u16(0));
  return Buffer.concat([...parts, list, end]);
}

/** `torch.save(state)` of 1.6 and later, optionally below `state_dict` beside other things. */
export function torchZip(state: State, root: Pickled = stateDict(state)): Buffer {
  const files = new Map([
    ['archive/data.pkl', pickle(root)],
    ['archive/byteorder', ascii('little')],
    ['archive/version', ascii('3\n')],
  ]);
  [...state.values()].forEach((value, i) => files.set(`archive/data/${i}`, bytesOf(value)));
  return zip(files);
}

/** `torch.save({epoch, state_dict, best_acc1, optimizer})` before 1.6, as training scripts did. */
export function torchLegacy(state: State): Buffer {
  const magic = op('\x80\x02', '\x8a\x0a', Buffer.from('6cfc9c46f9206aa85019', 'hex'), '.');
  const platform = new Map<string, Pickled>([
    ['protocol_version', 1001],
    ['little_endian', true],
    ['type_sizes', new Map([['short', 2]])],
  ]);
  const [first] = state.values();
  if (!first) throw new RangeError('no tensor');
  // Legacy references end with the view of the storage, None for all of it.
  const tensors = [...state].map(([name, value], i): [string, Pickled] => {
    const id = ['storage', storageClass(value), String(i), 'cpu', value.data.length, null];
    const args = [op(opcodesOf(id), 'Q'), 0, [...value.shape], stridesOf(value.shape)];
    return [name, called(named('torch._utils', '_rebuild_tensor'), args)];
  });
  const root = new Map<string, Pickled>([
    ['epoch', 7],
    ['best_acc1', called(named('numpy.core.multiarray', 'scalar'), [1])],
    ['state_dict', orderedDict(new Map(tensors))],
  ]);
  const keys = [...state.keys()].map((_, i) => String(i));
  const list = op('\x80\x02', ']', '(', ...keys.map(opcodesOf), 'e', '.');
  const storages = [...state.values()].flatMap((value) => [i64(value.data.length), bytesOf(value)]);
  return Buffer.concat([magic, pickle(1001), pickle(platform), pickle(root), list, ...storages]);
}

function tar(files: ReadonlyMap<string, Buffer>): Buffer {
  const padded = (bytes: Buffer): Buffer =>
    Buffer.concat([bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
  const members = [...files].flatMap(([name, bytes]) => {
    const header = Buffer.alloc(512);
    header.write(name, 0);
    header.write(`${bytes.length.toString(8).padStart(11, '0')}\0`, 124);
    header.write('ustar\0', 257);
    return [header, padded(bytes)];
  });
  return Buffer.concat([...members, Buffer.alloc(1024)]);
}

/** `torch.save` before 0.1.10. */
export function torchTar(state: State): Buffer {
  const values = [...state.values()];
  const storages = values.flatMap((value, i) => [
    pickle([i, 'cpu', storageClass(value)]),
    i64(value.data.length),
    bytesOf(value),
  ]);
  const tensors = values.flatMap((value, i) => [
    pickle([100 + i, i, named('torch', 'FloatTensor')]),
    op(u32(value.shape.length), u32(0)),
    ...[...value.shape, ...stridesOf(value.shape), 0].map(i64),
  ]);
  const references = [...state.keys()].map((name, i): [string, Pickled] => [
    name,
    op(opcodesOf(100 + i), 'Q'),
  ]);
  const files = new Map([
    ['sys_info', pickle(new Map())],
    ['pickle', pickle(orderedDict(new Map(references)))],
    ['tensors', Buffer.concat([pickle(values.length), ...tensors])],
    ['storages', Buffer.concat([pickle(values.length), ...storages, pickle([])])],
  ]);
  return tar(files);
}

/** What `flax.serialization.to_bytes` takes apart: nested dictionaries of arrays. */
export interface Tree {
  readonly [name: string]: Tree | Tensor;
}

const isTensor = (value: Tree | Tensor): value is Tensor => 'dtype' in value && 'data' in value;
const big = (type: number, value: number): Buffer => {
  const buffer = Buffer.alloc(5);
  buffer.writeUInt8(type);
  buffer.writeUInt32BE(value, 1);
  return buffer;
};
const packText = (text: string): Buffer =>
  op(big(0xdb, Buffer.byteLength(text)), Buffer.from(text));

/** Flax's msgpack. */
export function flax(tree: Tree | Tensor): Buffer {
  if (isTensor(tree)) {
    const shape = op(big(0xdd, tree.shape.length), ...tree.shape.map((dim) => big(0xce, dim)));
    const bytes = bytesOf(tree);
    const inner = op('\x93', shape, packText(tree.dtype), big(0xc6, bytes.length), bytes);
    return op(big(0xc9, inner.length), '\x01', inner);
  }
  const entries = Object.entries(tree);
  const items = entries.flatMap(([name, value]) => [packText(name), flax(value)]);
  return op(big(0xdf, entries.length), ...items);
}
