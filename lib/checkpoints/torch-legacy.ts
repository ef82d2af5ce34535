import { closeSync, openSync } from 'node:fs';
import { bytesPerElement } from '../graph/types.ts';
import { type ForeignWeights, malformed } from './foreign.ts';
import { ByteReader, fileSource } from './reader.ts';
import { type Storage, storageOf, torchTensors, unpickleTorch } from './torch.ts';

/** The pickled number at the start of files of PyTorch before 1.6. */
const magic = 0x1950a86a20f9469cfc6cn;
const protocol = 1001;

/**
 * Where each storage's bytes begin: they follow the list of their keys, in that order, each behind its
 * length as int64.
 */
function placeStorages(
  path: string,
  reader: ByteReader,
  keys: readonly unknown[],
  storages: ReadonlyMap<string, Storage>,
): Map<string, number> {
  const places = new Map<string, number>();
  for (const key of keys) {
    const storage = typeof key === 'string' ? storages.get(key) : undefined;
    if (!storage) throw malformed(path, `storage ${String(key)} belongs to no tensor`);
    const size = reader.uint64();
    if (size !== storage.size) {
      const message = `storage ${storage.key} has ${size} elements, its tensors need ${storage.size}`;
      throw malformed(path, message);
    }
    places.set(storage.key, reader.position);
    reader.position += size * bytesPerElement[storage.dtype];
  }
  return places;
}

/**
 * PyTorch's format before 1.6, that of the published CheXNet: four pickles (magic, protocol, platform,
 * the object), one with the keys of the storages, then the storages.
 */
export async function openTorchLegacy(path: string): Promise<ForeignWeights> {
  const descriptor = openSync(path, 'r');
  try {
    const reader = new ByteReader(path, fileSource(descriptor));
    const storages = new Map<string, Storage>();
    const next = (): unknown =>
      unpickleTorch(path, reader, (id) => {
        const storage = storageOf(path, id);
        storages.set(storage.key, storage);
        return storage;
      });
    if (next() !== magic) throw malformed(path, 'is a pickle, but not a PyTorch checkpoint');
    const version = next();
    if (version !== protocol)
      throw malformed(path, `has version ${String(version)}, expected 1001`);
    const platform = next();
    if (platform instanceof Map && platform.get('little_endian') === false) {
      throw malformed(path, 'was saved on a big-endian machine: save it again on another one');
    }
    const loaded = next();
    const keys = next();
    if (!Array.isArray(keys)) throw malformed(path, 'has no list of its storages');
    const places = placeStorages(path, reader, keys, storages);
    const tensors = torchTensors(path, loaded, async ({ key, dtype, size }) => {
      const place = places.get(key);
      if (place === undefined) throw malformed(path, `storage ${key} is missing`);
      const bytes = new ByteReader(path, fileSource(descriptor), place);
      return bytes.bytes(size * bytesPerElement[dtype]);
    });
    const close = async (): Promise<void> => closeSync(descriptor);
    return { path, format: 'PyTorch before 1.6', tensors, close };
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}
