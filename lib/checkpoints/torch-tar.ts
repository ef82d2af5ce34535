import { readFile } from 'node:fs/promises';
import { type Dtype, bytesPerElement } from '../graph/types.ts';
import { type ForeignWeights, malformed, truncated } from './foreign.ts';
import { ByteReader, bufferSource } from './reader.ts';
import { type Storage, View, storageDtype, torchTensors, unpickleTorch } from './torch.ts';

const block = 512;

/** The members of a tar archive (POSIX ustar) by name. */
function tarMembers(path: string, bytes: Buffer): Map<string, Buffer> {
  const members = new Map<string, Buffer>();
  const text = (start: number, length: number): string =>
    bytes
      .toString('latin1', start, start + length)
      .replace(/\0.*$/s, '')
      .trim();
  for (let at = 0; at + block <= bytes.length && bytes[at] !== 0;) {
    const name = text(at, 100).replace(/^\.\//, '');
    const size = Number.parseInt(text(at + 124, 12) || '0', 8);
    const start = at + block;
    if (!Number.isSafeInteger(size) || start + size > bytes.length) {
      throw truncated(path, `the archive ends within its member ${name}`);
    }
    members.set(name, bytes.subarray(start, start + size));
    at = start + Math.ceil(size / block) * block;
  }
  return members;
}

interface Placed extends Storage {
  readonly bytes: Uint8Array;
}

/** Member `storages`: a count, then per storage its pickled key, place and class, length and bytes. */
function readStorages(path: string, reader: ByteReader): Map<unknown, Placed> {
  const storages = new Map<unknown, Placed>();
  const count = Number(unpickleTorch(path, reader));
  for (let i = 0; i < count; i++) {
    const entry = unpickleTorch(path, reader);
    const [key, , type] = Array.isArray(entry) ? (entry as unknown[]) : [];
    const dtype: Dtype | undefined = storageDtype(type);
    if (!dtype) throw malformed(path, 'a storage is of an unknown kind');
    const size = reader.uint64();
    const bytes = reader.bytes(size * bytesPerElement[dtype]);
    storages.set(key, { key: String(key), dtype, size, bytes });
  }
  const views = unpickleTorch(path, reader);
  for (const view of Array.isArray(views) ? views : []) {
    const [key, root, offset, size] = Array.isArray(view) ? (view as unknown[]) : [];
    const whole = storages.get(root);
    if (!whole) throw malformed(path, 'a storage is part of one that is missing');
    const width = bytesPerElement[whole.dtype];
    const [from, length] = [Number(offset), Number(size)];
    const bytes = whole.bytes.subarray(from * width, (from + length) * width);
    storages.set(key, { key: String(key), dtype: whole.dtype, size: length, bytes });
  }
  return storages;
}

/** Member `tensors`: a count, then per tensor its pickled key, storage and class, and its layout. */
function readTensors(
  path: string,
  reader: ByteReader,
  storages: ReadonlyMap<unknown, Placed>,
): Map<string, View> {
  const tensors = new Map<string, View>();
  const count = Number(unpickleTorch(path, reader));
  for (let i = 0; i < count; i++) {
    const entry = unpickleTorch(path, reader);
    const [key, from] = Array.isArray(entry) ? (entry as unknown[]) : [];
    const storage = storages.get(from);
    if (!storage) throw malformed(path, `the storage of tensor ${String(key)} is missing`);
    const rank = reader.int32();
    reader.bytes(4);
    const numbers = (): number[] => Array.from({ length: rank }, () => reader.uint64());
    if (rank < 0 || rank > 16)
      throw malformed(path, `tensor ${String(key)} has ${rank} dimensions`);
    const [shape, strides] = [numbers(), numbers()];
    tensors.set(String(key), new View(storage, reader.uint64(), shape, strides));
  }
  return tensors;
}

/** PyTorch's first format, before 0.1.10: a tar archive of `storages`, `tensors` and `pickle`. */
export async function openTorchTar(path: string): Promise<ForeignWeights> {
  const members = tarMembers(path, await readFile(path));
  const readerOf = (name: string): ByteReader => {
    const member = members.get(name);
    if (!member)
      throw malformed(path, `is a tar archive without ${name}: not a PyTorch checkpoint`);
    return new ByteReader(path, bufferSource(member));
  };
  const storages = readStorages(path, readerOf('storages'));
  const views = readTensors(path, readerOf('tensors'), storages);
  const loaded = unpickleTorch(path, readerOf('pickle'), (id) => views.get(String(id)) ?? null);
  const bytes = new Map([...storages.values()].map((storage) => [storage.key, storage.bytes]));
  const tensors = torchTensors(path, loaded, async ({ key }) => bytes.get(key) ?? new Uint8Array());
  return { path, format: 'PyTorch tar', tensors, close: async () => {} };
}
