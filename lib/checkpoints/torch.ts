import { type Dtype, type Tensor, bytesPerElement } from '../graph/types.ts';
import { tensorOver } from '../tensor.ts';
import { type ForeignTensor, malformed, truncated } from './foreign.ts';
import { PickledCall, PickledName, unpickle } from './pickle.ts';
import type { ByteReader } from './reader.ts';

/** PyTorch's storage classes, and the dtypes they hold. */
const storageDtypes: ReadonlyMap<string, Dtype> = new Map<string, Dtype>([
  ['torch.DoubleStorage', 'float64'],
  ['torch.FloatStorage', 'float32'],
  ['torch.HalfStorage', 'float16'],
  ['torch.BFloat16Storage', 'bfloat16'],
  ['torch.LongStorage', 'int64'],
  ['torch.IntStorage', 'int32'],
  ['torch.CharStorage', 'int8'],
  ['torch.ByteStorage', 'uint8'],
  ['torch.BoolStorage', 'bool'],
]);

/** Names that a checkpoint's pickle may hold besides storages; of these, only tensors are used. */
const harmless = new Set([
  'torch._utils._rebuild_tensor',
  'torch._utils._rebuild_tensor_v2',
  'torch._utils._rebuild_parameter',
  'torch.nn.parameter.Parameter',
  'torch.Size',
  'torch.device',
  // Training scripts save these beside the weights: numbers, options, optimizer state.
  'argparse.Namespace',
  ...['dict', 'list', 'set'].flatMap((name) => [`builtins.${name}`, `__builtin__.${name}`]),
  'numpy.ndarray',
  'numpy.core.multiarray._reconstruct',
  'numpy._core.multiarray._reconstruct',
  'numpy.dtype',
  'numpy.core.multiarray.scalar',
  'numpy._core.multiarray.scalar',
  '_codecs.encode',
]);
/** `torch.FloatTensor` beside `torch.FloatStorage`: the first format names both. */
const isTorchName = (name: string): boolean =>
  storageDtypes.has(name.replace(/Tensor$/, 'Storage')) || harmless.has(name);

/** Reads a pickle that PyTorch wrote; `persistent` resolves its references. */
export const unpickleTorch = (
  path: string,
  reader: ByteReader,
  persistent: (id: unknown) => unknown = (id) => storageOf(path, id),
): unknown => unpickle(path, reader, { allowed: isTorchName, persistent });

export interface Storage {
  readonly key: string;
  readonly dtype: Dtype;
  /** Elements. */
  readonly size: number;
}
/** Reads the bytes of a storage, wherever the format keeps them. */
export type StorageReader = (storage: Storage) => Promise<Uint8Array>;

/** A tensor as a view of its storage. */
export class View {
  readonly storage: Storage;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];

  constructor(
    storage: Storage,
    offset: number,
    shape: readonly number[],
    strides: readonly number[],
  ) {
    this.storage = storage;
    this.offset = offset;
    this.shape = shape;
    this.strides = strides;
  }
}

const isCount = (value: unknown): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
const isCounts = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every(isCount);

/** The dtype of the storage class that a name from a pickle is. */
export const storageDtype = (type: unknown): Dtype | undefined =>
  type instanceof PickledName ? storageDtypes.get(type.name) : undefined;

/** `('storage', class, key, location, elements)` */
export function storageOf(path: string, id: unknown): Storage {
  if (Array.isArray(id)) {
    const [kind, type, key, , size] = id as unknown[];
    const dtype = storageDtype(type);
    if (kind === 'storage' && dtype && typeof key === 'string' && isCount(size)) {
      return { key, dtype, size };
    }
  }
  throw malformed(path, 'a tensor of its pickle has no storage of a known kind');
}

const isStorage = (value: unknown): value is Storage =>
  typeof value === 'object' && value !== null && 'key' in value && 'dtype' in value;

/** A rebuilt tensor, or undefined for any other value. */
function viewOf(path: string, value: unknown): View | undefined {
  if (value instanceof View) return value;
  if (!(value instanceof PickledCall)) return undefined;
  const [first, offset, shape, strides] = value.args;
  if (value.name === 'torch._utils._rebuild_parameter') return viewOf(path, first);
  if (!value.name.startsWith('torch._utils._rebuild_tensor')) return undefined;
  const isWhole = isStorage(first) && isCount(offset) && isCounts(shape) && isCounts(strides);
  if (!isWhole || shape.length !== strides.length) {
    throw malformed(path, 'a tensor of its pickle has no storage or no shape');
  }
  return new View(first, offset, shape, strides);
}

/** Wrappers that training scripts put around a state dict. */
const wrappers = ['state_dict', 'model_state_dict', 'model', 'net'];

/** The tensors of a loaded object: a state dict, or one in a wrapper; other values are skipped. */
export function torchTensors(
  path: string,
  loaded: unknown,
  read: StorageReader,
): Map<string, ForeignTensor> {
  let dict = loaded;
  for (let depth = 0; dict instanceof Map && depth < 4; depth++) {
    const inner: unknown = wrappers
      .map((key) => (dict as Map<unknown, unknown>).get(key))
      .find((value) => value instanceof Map);
    if (!inner) break;
    dict = inner;
  }
  if (!(dict instanceof Map)) throw malformed(path, 'holds no state_dict');
  const tensors = new Map<string, ForeignTensor>();
  for (const [name, value] of dict) {
    const view = viewOf(path, value);
    if (typeof name === 'string' && view) tensors.set(name, lazyTensor(path, name, view, read));
  }
  if (tensors.size === 0) throw malformed(path, 'its state_dict holds no tensor');
  return tensors;
}

function lazyTensor(path: string, name: string, view: View, read: StorageReader): ForeignTensor {
  const { storage, shape, strides, offset } = view;
  const isEmpty = shape.includes(0);
  const last = shape.reduce((sum, dim, i) => sum + (dim - 1) * (strides[i] ?? 0), offset);
  const elements = shape.reduce((product, dim) => product * dim, 1);
  // A stride of 0 would make any shape of one element.
  if (!isEmpty && (last >= storage.size || elements > storage.size)) {
    const claim = `[${shape.join(',')}] with strides [${strides.join(',')}] at ${offset}`;
    throw malformed(path, `${name}: ${claim} does not fit its storage of ${storage.size} elements`);
  }
  const { dtype } = storage;
  return {
    dtype,
    shape,
    read: async () => {
      const bytes = await read(storage);
      if (bytes.length !== storage.size * bytesPerElement[dtype]) {
        throw truncated(path, `${name}: its storage ${storage.key} has ${bytes.length} bytes`);
      }
      return gather(view, bytes);
    },
  };
}

/** Copies a view out of its storage, row-major. */
function gather({ storage, offset, shape, strides }: View, bytes: Uint8Array): Tensor {
  const { dtype } = storage;
  const width = bytesPerElement[dtype];
  const count = shape.reduce((product, dim) => product * dim, 1);
  const dense = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
  const isDense = shape.every((dim, axis) => dim === 1 || strides[axis] === dense[axis]);
  if (isDense) {
    const part = bytes.subarray(offset * width, (offset + count) * width);
    return tensorOver(dtype, shape, Uint8Array.from(part).buffer);
  }
  const result = new Uint8Array(count * width);
  const index = shape.map(() => 0);
  let source = offset;
  for (let i = 0; i < count; i++) {
    const at = source * width;
    for (let b = 0; b < width; b++) result[i * width + b] = bytes[at + b] as number;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      source += strides[axis] ?? 0;
      index[axis] = (index[axis] ?? 0) + 1;
      if ((index[axis] ?? 0) < (shape[axis] ?? 1)) break;
      source -= (strides[axis] ?? 0) * (shape[axis] ?? 1);
      index[axis] = 0;
    }
  }
  return tensorOver(dtype, shape, result.buffer);
}
