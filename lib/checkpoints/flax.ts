import { readFile } from 'node:fs/promises';
import { ExtensionCodec, decode } from '@msgpack/msgpack';
import { type Dtype, type Tensor, bytesPerElement } from '../graph/types.ts';
import { byteLengthOf, tensorOver } from '../tensor.ts';
import { type ForeignWeights, type ForeignTensor, malformed } from './foreign.ts';
import { measureMessage } from './msgpack-size.ts';

/** Flax's extension types (flax.serialization): 1 is an array as [shape, dtype, bytes]. */
const arrayExtension = 1;

const dtypes: Readonly<Record<string, Dtype>> = {
  float64: 'float64',
  float32: 'float32',
  float16: 'float16',
  bfloat16: 'bfloat16',
  int64: 'int64',
  int32: 'int32',
  int8: 'int8',
  uint8: 'uint8',
  uint32: 'uint32',
  bool: 'bool',
};

class FlaxArray {
  readonly shape: readonly number[];
  readonly dtype: Dtype;
  readonly bytes: Uint8Array;

  constructor(shape: readonly number[], dtype: Dtype, bytes: Uint8Array) {
    this.shape = shape;
    this.dtype = dtype;
    this.bytes = bytes;
  }
}

/** Permutations that turn a kernel of JAX, outputs last, into one of PyTorch, outputs first. */
const kernelOrders: Readonly<Record<number, readonly number[]>> = {
  2: [1, 0],
  4: [3, 2, 0, 1],
};

/** The last part of a name in Flax, and in PyTorch. */
const lastNames: Readonly<Record<string, string>> = {
  kernel: 'weight',
  scale: 'weight',
  embedding: 'weight',
};

function arrayOf(path: string, message: unknown): FlaxArray {
  const [shape, name, bytes] = Array.isArray(message) ? (message as unknown[]) : [];
  const dtype = typeof name === 'string' ? dtypes[name] : undefined;
  const isShape =
    Array.isArray(shape) && shape.every((dim) => Number.isSafeInteger(dim) && (dim as number) >= 0);
  if (!isShape || !dtype || !(bytes instanceof Uint8Array)) {
    throw malformed(path, `an array is not [shape, dtype, bytes], or of dtype ${String(name)}`);
  }
  const expected = byteLengthOf(dtype, shape as number[]);
  if (bytes.length !== expected) {
    const claim = `${dtype}[${shape.join(',')}]`;
    throw malformed(path, `an array ${claim} has ${bytes.length} bytes, expected ${expected}`);
  }
  return new FlaxArray(shape as number[], dtype, bytes);
}

function transpose({ shape, dtype, bytes }: FlaxArray, order: readonly number[]): Tensor {
  const width = bytesPerElement[dtype];
  const stride = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, width));
  const target = order.map((axis) => shape[axis] ?? 1);
  const steps = order.map((axis) => stride[axis] ?? 0);
  const result = new Uint8Array(bytes.length);
  const index = target.map(() => 0);
  let source = 0;
  for (let out = 0; out < result.length; out += width) {
    for (let b = 0; b < width; b++) result[out + b] = bytes[source + b] as number;
    for (let axis = target.length - 1; axis >= 0; axis--) {
      source += steps[axis] ?? 0;
      index[axis] = (index[axis] ?? 0) + 1;
      if ((index[axis] ?? 0) < (target[axis] ?? 1)) break;
      source -= (steps[axis] ?? 0) * (target[axis] ?? 1);
      index[axis] = 0;
    }
  }
  return tensorOver(dtype, target, result.buffer);
}

/** The tensor in PyTorch's layout. */
function lazyTensor(array: FlaxArray, last: string): ForeignTensor {
  const order = last === 'kernel' ? kernelOrders[array.shape.length] : undefined;
  if (order) {
    const shape = order.map((axis) => array.shape[axis] ?? 1);
    return { dtype: array.dtype, shape, read: async () => transpose(array, order) };
  }
  const { dtype, shape, bytes } = array;
  const read = async (): Promise<Tensor> => tensorOver(dtype, shape, Uint8Array.from(bytes).buffer);
  return { dtype, shape, read };
}

/** Arrays above 1 GiB are written in chunks, each an array itself. */
function joinChunks(path: string, message: Readonly<Record<string, unknown>>): FlaxArray {
  const parts = (key: string): unknown[] => {
    const value = message[key];
    return typeof value === 'object' && value !== null ? Object.values(value) : [];
  };
  const chunks = parts('chunks').filter((chunk) => chunk instanceof FlaxArray);
  const bytes = Buffer.concat(chunks.map((chunk) => chunk.bytes));
  return arrayOf(path, [parts('shape'), chunks[0]?.dtype, new Uint8Array(bytes)]);
}

function collect(
  path: string,
  message: unknown,
  names: readonly string[],
  tensors: Map<string, ForeignTensor>,
): void {
  if (typeof message !== 'object' || message === null) return;
  const record = message as Readonly<Record<string, unknown>>;
  const last = names.at(-1) ?? '';
  const isChunked = record['__msgpack_chunked_array__'] === true;
  if (isChunked || message instanceof FlaxArray) {
    const array = message instanceof FlaxArray ? message : joinChunks(path, record);
    const name = [...names.slice(0, -1), lastNames[last] ?? last].join('.');
    tensors.set(name, lazyTensor(array, last));
    return;
  }
  for (const [name, inner] of Object.entries(record)) {
    // A training state keeps its weights below `params`.
    collect(path, inner, name === 'params' ? names : [...names, name], tensors);
  }
}

/** Flax's msgpack, as Clinical T5 is published: nested dictionaries of arrays. */
export async function openFlax(path: string): Promise<ForeignWeights> {
  const bytes = await readFile(path);
  measureMessage(path, bytes);
  const extensionCodec = new ExtensionCodec();
  extensionCodec.register({
    type: arrayExtension,
    encode: () => null,
    decode: (data) => {
      measureMessage(path, data);
      return arrayOf(path, decode(data));
    },
  });
  let message: unknown;
  try {
    message = decode(bytes, { extensionCodec });
  } catch (cause) {
    if (cause instanceof Error && cause.name === 'DomainError') throw cause;
    throw malformed(path, 'is not msgpack as Flax writes it', cause);
  }
  const tensors = new Map<string, ForeignTensor>();
  collect(path, message, [], tensors);
  if (tensors.size === 0) throw malformed(path, 'is msgpack without arrays: not a Flax checkpoint');
  return { path, format: 'Flax msgpack', tensors, close: async () => {} };
}
