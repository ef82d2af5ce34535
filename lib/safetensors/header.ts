import { type DomainError, invalidArgument } from '../errors.ts';
import type { Dtype } from '../graph/types.ts';
import { byteLengthOf } from '../tensor.ts';

/** The place of a tensor in its file; offsets count from the start of the file, as in ONNX. */
export interface TensorInfo {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly byteOffset: number;
  readonly byteLength: number;
}

export interface Header {
  /** In file order. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** A cache line: enough for every vector instruction. */
export const alignment = 64;
/** The limit of the reference implementation. */
export const maxHeaderBytes = 100_000_000;

export const dtypeNames: Readonly<Record<Dtype, string>> = {
  float64: 'F64',
  float32: 'F32',
  float16: 'F16',
  bfloat16: 'BF16',
  int64: 'I64',
  int32: 'I32',
  int8: 'I8',
  uint8: 'U8',
  uint32: 'U32',
  bool: 'BOOL',
};
const dtypes = new Map(
  Object.entries(dtypeNames).map(([dtype, name]) => [name, dtype as Dtype] as const),
);

/** A value from a file, short enough for a message. */
export function show(value: unknown): string {
  let text: string;
  try {
    text = JSON.stringify(value) ?? 'nothing';
  } catch {
    return 'something nested too deeply';
  }
  return text.length <= 100 ? text : `${text.slice(0, 97)}...`;
}

/**
 * Checks and reads the JSON header of a .safetensors file whose data starts at `dataOffset` and has
 * `dataBytes` bytes. Throws INVALID_ARGUMENT, naming the tensor, unless the tensors cover the data
 * exactly, without holes or overlaps.
 */
export function parseHeader(
  path: string,
  json: Uint8Array,
  dataOffset: number,
  dataBytes: number,
): Header {
  const { __metadata__: metadata = {}, ...tensors } = parseObject(path, json);
  if (!isRecord(metadata) || Object.values(metadata).some((value) => typeof value !== 'string')) {
    throw headerError(path, '__metadata__ must map strings to strings');
  }
  const infos = Object.entries(tensors).map(
    ([name, entry]) => [name, readEntry(path, name, entry)] as const,
  );
  infos.sort(([, a], [, b]) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength);
  let end = 0;
  let previous = 'the start of the data';
  for (const [name, { byteOffset, byteLength }] of infos) {
    if (byteOffset !== end) {
      const what = byteOffset < end ? 'overlaps' : 'leaves a hole after';
      throw tensorError(path, name, `starts at byte ${byteOffset}, ${what} ${previous} (${end})`);
    }
    end += byteLength;
    previous = `tensor ${show(name)}`;
    if (end > dataBytes) {
      throw tensorError(path, name, `ends at byte ${end} of the data, which has ${dataBytes}`);
    }
  }
  if (end < dataBytes) {
    throw headerError(path, `the data has ${dataBytes} bytes, ${previous} ends at ${end}`);
  }
  return {
    metadata: metadata as Record<string, string>,
    tensors: new Map(
      infos.map(([name, info]) => [name, { ...info, byteOffset: dataOffset + info.byteOffset }]),
    ),
  };
}

const headerError = (path: string, message: string): DomainError =>
  invalidArgument('SAFETENSORS_HEADER', path, message);

const tensorError = (path: string, name: string, message: string): DomainError =>
  invalidArgument('SAFETENSORS_TENSOR', path, `tensor ${show(name)} ${message}`, {
    metadata: { tensor: name.slice(0, 100) },
  });

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0;

function parseObject(path: string, json: Uint8Array): Record<string, unknown> {
  if (json[0] !== 0x7b) throw headerError(path, 'the header must start with {');
  let text: string;
  let parsed: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(json);
  } catch (cause) {
    throw invalidArgument('SAFETENSORS_HEADER', path, 'the header is not UTF-8', { cause });
  }
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw invalidArgument('SAFETENSORS_HEADER', path, 'the header is not JSON', { cause });
  }
  const twice = firstDuplicateKey(text);
  if (twice !== undefined) throw tensorError(path, twice, 'has a duplicate key in the header');
  return parsed as Record<string, unknown>;
}

/**
 * The first key that occurs twice in an object of valid JSON or, where that is inside a tensor's entry,
 * the tensor's name. JSON.parse would silently keep the last.
 */
function firstDuplicateKey(text: string): string | undefined {
  const open: Set<string>[] = [];
  let outermost = '';
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === '{') open.push(new Set());
    else if (char === '}') open.pop();
    else if (char === '"') {
      const start = at;
      while (text[++at] !== '"') if (text[at] === '\\') at++;
      let next = at + 1;
      while (/\s/.test(text[next] ?? '')) next++;
      if (text[next] !== ':') continue;
      const key = JSON.parse(text.slice(start, at + 1)) as string;
      const keys = open.at(-1);
      if (keys?.has(key)) return open.length > 1 ? outermost : key;
      keys?.add(key);
      if (open.length === 1) outermost = key;
    }
  }
  return undefined;
}

/** One tensor's entry; its offset still counts from the start of the data. */
function readEntry(path: string, name: string, entry: unknown): TensorInfo {
  if (!name.isWellFormed()) throw tensorError(path, name, 'has a name that is not valid Unicode');
  if (!isRecord(entry)) throw tensorError(path, name, `must be an object, got ${show(entry)}`);
  const { dtype: dtypeName, shape, data_offsets: offsets, ...rest } = entry;
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) throw tensorError(path, name, `has an unknown key ${show(unknown)}`);
  const dtype = dtypes.get(dtypeName as string);
  if (!dtype) {
    const known = [...dtypes.keys()].join(', ');
    throw tensorError(path, name, `has dtype ${show(dtypeName)}, known are ${known}`);
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    throw tensorError(path, name, `has shape ${show(shape)}, expected counts`);
  }
  const [begin, end, ...more] = Array.isArray(offsets) ? (offsets as unknown[]) : [];
  if (!isCount(begin) || !isCount(end) || more.length > 0 || begin > end) {
    throw tensorError(path, name, `has data_offsets ${show(offsets)}, expected [begin, end]`);
  }
  const expected = byteLengthOf(dtype, shape);
  if (end - begin !== expected) {
    const type = `${show(dtypeName)} ${show(shape)}`;
    throw tensorError(path, name, `has ${end - begin} bytes, ${type} takes ${expected}`);
  }
  return { dtype, shape, byteOffset: begin, byteLength: end - begin };
}
