import { buffer } from 'node:stream/consumers';
import { crc32 } from 'node:zlib';
import { type Entry, type ZipFile, openPromise } from 'yauzl';
import { bytesPerElement } from '../graph/types.ts';
import { type ForeignWeights, malformed, truncated, unsafe } from './foreign.ts';
import { ByteReader, bufferSource } from './reader.ts';
import { torchTensors, unpickleTorch } from './torch.ts';

/** Names and shapes only; the pickle of a state dict of thousands of tensors has a few hundred KB. */
const maxPickleBytes = 64 << 20;

/** Unpacks an entry of a known size; an entry that states another size is not unpacked. */
async function unpack(
  path: string,
  archive: ZipFile,
  entry: Entry,
  expected: number,
): Promise<Uint8Array> {
  const { fileName, uncompressedSize } = entry;
  if (uncompressedSize !== expected) {
    throw malformed(
      path,
      `${fileName} has ${uncompressedSize} bytes, its tensors need ${expected}`,
    );
  }
  let bytes: Uint8Array;
  try {
    bytes = await buffer(await archive.openReadStreamPromise(entry));
  } catch (cause) {
    throw truncated(path, `${fileName} cannot be unpacked`, cause);
  }
  // PyTorch can be configured to write no checksums; it then writes 0.
  if (entry.crc32 !== 0 && crc32(bytes) !== entry.crc32) {
    throw malformed(path, `${fileName} does not match its checksum`);
  }
  return bytes;
}

async function openArchive(path: string): Promise<{ archive: ZipFile; entries: Entry[] }> {
  let archive: ZipFile | undefined;
  try {
    archive = await openPromise(path, { autoClose: false });
    const entries: Entry[] = [];
    for await (const entry of archive.eachEntry()) entries.push(entry);
    return { archive, entries };
  } catch (cause) {
    archive?.close();
    throw truncated(
      path,
      'is not a complete zip archive: the list of files at its end is missing',
      cause,
    );
  }
}

/** PyTorch's format since 1.6: `{name}/data.pkl` beside `{name}/data/{key}`, a storage each. */
export async function openTorchZip(path: string): Promise<ForeignWeights> {
  const { archive, entries } = await openArchive(path);
  try {
    const pickle = entries.find(({ fileName }) => /(^|\/)data\.pkl$/.test(fileName));
    if (!pickle)
      throw malformed(path, 'is a zip archive without data.pkl: not a PyTorch checkpoint');
    if (pickle.uncompressedSize > maxPickleBytes) {
      const size = pickle.uncompressedSize;
      throw unsafe(path, `its pickle has ${size} bytes, at most ${maxPickleBytes} are read`);
    }
    const root = pickle.fileName.slice(0, -'data.pkl'.length);
    const byName = new Map(entries.map((entry) => [entry.fileName, entry]));
    const order = byName.get(`${root}byteorder`);
    if (order && Buffer.from(await unpack(path, archive, order, 6)).toString() !== 'little') {
      throw malformed(path, 'was saved on a big-endian machine: save it again on another one');
    }
    const bytes = await unpack(path, archive, pickle, pickle.uncompressedSize);
    const loaded = unpickleTorch(path, new ByteReader(path, bufferSource(bytes)));
    const tensors = torchTensors(path, loaded, ({ key, dtype, size }) => {
      const entry = byName.get(`${root}data/${key}`);
      if (!entry) throw truncated(path, `storage ${key} is missing from the archive`);
      return unpack(path, archive, entry, size * bytesPerElement[dtype]);
    });
    return { path, format: 'PyTorch zip', tensors, close: async () => archive.close() };
  } catch (error) {
    archive.close();
    throw error;
  }
}
