import { type FileHandle, open } from 'node:fs/promises';
import { DomainError, invalidArgument } from '../errors.ts';
import { type Dtype, type Tensor, bytesPerElement } from '../graph/types.ts';
import { byteLengthOf, printType, tensorOver } from '../tensor.ts';
import { writeAtomically } from '../atomic.ts';
import {
  type TensorInfo,
  alignment,
  dtypeNames,
  maxHeaderBytes,
  parseHeader,
  show,
} from './header.ts';

export type { TensorInfo } from './header.ts';

/** An open .safetensors file: its header is in memory, its tensors are read on request. */
export interface SafetensorsFile {
  /** In the order in which the tensors lie in the file. */
  readonly names: readonly string[];
  readonly metadata: Readonly<Record<string, string>>;
  /** Throws NOT_FOUND for a name that the file does not hold. */
  info(name: string): TensorInfo;
  /** Reads one tensor. Throws NOT_FOUND, or DATA_LOSS where the file has shrunk since it was opened. */
  read(name: string): Promise<Tensor>;
  close(): Promise<void>;
}

/** A tensor to write. Its data may be computed on demand, so that a file need not fit in memory. */
export interface TensorSource {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly data: Tensor['data'] | (() => Tensor['data'] | Promise<Tensor['data']>);
}

/**
 * Opens a .safetensors file (huggingface.co/docs/safetensors: header length, JSON header, data) and
 * checks its whole header. Throws NOT_FOUND where there is no such file, and INVALID_ARGUMENT, naming
 * the tensor, for a header that does not describe the file exactly.
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  const file = await open(path).catch((cause: unknown) => {
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    throw missing
      ? new DomainError('NOT_FOUND', 'FILE_NOT_FOUND', `${path}: no such file`, { field: path })
      : cause;
  });
  try {
    const { size } = await file.stat();
    const { dataOffset, json } = await readHeader(file, path, size);
    return new OpenFile(path, file, parseHeader(path, json, dataOffset, size - dataOffset));
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function readHeader(
  file: FileHandle,
  path: string,
  size: number,
): Promise<{ readonly dataOffset: number; readonly json: Uint8Array }> {
  const truncated = (expected: string): DomainError =>
    invalidArgument('SAFETENSORS_TRUNCATED', path, `the file has ${size} bytes, ${expected}`);
  if (size < 8) throw truncated('shorter than the 8 bytes of the header length');
  const prefix = Buffer.from(await readBytes(file, path, 0, 8));
  const length = prefix.readBigUInt64LE();
  if (length > BigInt(maxHeaderBytes)) {
    const message = `the header has ${length} bytes, at most ${maxHeaderBytes} are read`;
    throw invalidArgument('SAFETENSORS_HEADER_TOO_LARGE', path, message);
  }
  const dataOffset = 8 + Number(length);
  if (dataOffset > size) throw truncated(`its header alone needs ${dataOffset}`);
  return { dataOffset, json: new Uint8Array(await readBytes(file, path, 8, Number(length))) };
}

async function readBytes(
  file: FileHandle,
  path: string,
  position: number,
  length: number,
): Promise<ArrayBuffer> {
  const buffer = new ArrayBuffer(length);
  // One read call takes at most 2 GiB - 1.
  for (let done = 0; done < length;) {
    const chunk = new Uint8Array(buffer, done, Math.min(length - done, 2 ** 30));
    const { bytesRead } = await file.read(chunk, 0, chunk.length, position + done);
    if (bytesRead === 0) {
      const message = `${path}: the file ended at byte ${position + done} while being read`;
      throw new DomainError('DATA_LOSS', 'SAFETENSORS_TRUNCATED', message, { field: path });
    }
    done += bytesRead;
  }
  return buffer;
}

class OpenFile implements SafetensorsFile {
  readonly names: readonly string[];
  readonly metadata: Readonly<Record<string, string>>;
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #tensors: ReadonlyMap<string, TensorInfo>;

  constructor(path: string, file: FileHandle, header: ReturnType<typeof parseHeader>) {
    this.#path = path;
    this.#file = file;
    this.#tensors = header.tensors;
    this.names = [...header.tensors.keys()];
    this.metadata = header.metadata;
  }

  info(name: string): TensorInfo {
    const info = this.#tensors.get(name);
    if (info) return info;
    const message = `${this.#path}: holds no tensor ${show(name)}`;
    throw new DomainError('NOT_FOUND', 'TENSOR_NOT_FOUND', message, { field: name });
  }

  async read(name: string): Promise<Tensor> {
    const { dtype, shape, byteOffset, byteLength } = this.info(name);
    const bytes = await readBytes(this.#file, this.#path, byteOffset, byteLength);
    return tensorOver(dtype, shape, bytes);
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/**
 * Writes a .safetensors file atomically, one tensor in memory at a time, and returns where each lies,
 * in file order. The same tensors and metadata give the same bytes, whatever order they come in.
 *
 * Every tensor is aligned to its dtype, and to 64 bytes where its length is a multiple of 64: data
 * starts at a multiple of 64 (the header is padded with spaces), such tensors come first, then the
 * others by falling element size. ONNX Runtime maps any offset (it rounds down to a page itself).
 *
 * Throws INVALID_ARGUMENT for a name given twice and for data whose length is not that of its shape;
 * the path then keeps its old content.
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<TensorSource>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<ReadonlyMap<string, TensorInfo>> {
  const sources = [...tensors].sort(inFileOrder);
  const { header, infos } = layOut(sources, metadata);
  await writeAtomically(path, async (file) => {
    await writeAll(file, header);
    for (const { name, dtype, shape, data } of sources) {
      const made = typeof data === 'function' ? await data() : data;
      checkData(name, dtype, shape, made);
      await writeAll(file, new Uint8Array(made.buffer, made.byteOffset, made.byteLength));
    }
  });
  return infos;
}

const isRagged = ({ dtype, shape }: TensorSource): number =>
  byteLengthOf(dtype, shape) % alignment === 0 ? 0 : 1;

const inFileOrder = (a: TensorSource, b: TensorSource): number =>
  isRagged(a) - isRagged(b) ||
  bytesPerElement[b.dtype] - bytesPerElement[a.dtype] ||
  (a.name < b.name ? -1 : Number(a.name > b.name));

function layOut(
  sources: readonly TensorSource[],
  metadata: Readonly<Record<string, string>>,
): { readonly header: Uint8Array; readonly infos: ReadonlyMap<string, TensorInfo> } {
  const relative = new Map<string, TensorInfo>();
  const entries: [string, unknown][] = [];
  const keys = Object.keys(metadata).sort();
  if (keys.length > 0) {
    entries.push(['__metadata__', Object.fromEntries(keys.map((key) => [key, metadata[key]]))]);
  }
  let end = 0;
  for (const { name, dtype, shape } of sources) {
    if (name === '__metadata__' || relative.has(name) || !name.isWellFormed()) {
      const message = `${show(name)} is reserved, given twice or not valid Unicode`;
      throw invalidArgument('SAFETENSORS_NAME', 'tensors', message);
    }
    const byteLength = byteLengthOf(dtype, shape);
    relative.set(name, { dtype, shape, byteOffset: end, byteLength });
    const offsets = [end, (end += byteLength)];
    entries.push([name, { dtype: dtypeNames[dtype], shape, data_offsets: offsets }]);
  }
  // Written by hand: as an object, JSON would put names that look like numbers first.
  const json = entries.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
  const text = Buffer.from(`{${json.join(',')}}`);
  const dataOffset = Math.ceil((8 + text.length) / alignment) * alignment;
  const header = new Uint8Array(dataOffset).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(dataOffset - 8), true);
  header.set(text, 8);
  const infos = relative.entries().map(([name, info]): [string, TensorInfo] => {
    return [name, { ...info, byteOffset: dataOffset + info.byteOffset }];
  });
  return { header, infos: new Map(infos) };
}

function checkData(
  name: string,
  dtype: Dtype,
  shape: readonly number[],
  data: Tensor['data'],
): void {
  const expected = byteLengthOf(dtype, shape);
  if (data.BYTES_PER_ELEMENT === bytesPerElement[dtype] && data.byteLength === expected) return;
  const message = `${printType(dtype, shape)} takes ${expected} bytes, got ${data.constructor.name} of ${data.byteLength}`;
  throw invalidArgument('SAFETENSORS_SIZE', name, message);
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const length = Math.min(bytes.length - done, 2 ** 30);
    done += (await file.write(bytes, done, length)).bytesWritten;
  }
}
