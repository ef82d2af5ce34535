import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { DomainError } from '../lib/errors.ts';
import { input, parameter } from '../lib/graph/value.ts';
import { o } from '../lib/graph/build.ts';
import { emitModel } from '../lib/onnx/emit.ts';
import { createBackend } from '../lib/runtime/backend.ts';
import {
  type TensorSource,
  openSafetensors,
  writeSafetensors,
} from '../lib/safetensors/safetensors.ts';
import { graphOf, uniform } from './support/engine.ts';

async function folderOf(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'radscribe-'));
  t.teardown(() => rm(folder, { recursive: true }));
  return folder;
}

/** A file as any program might have written it. */
function fileOf(header: string | Uint8Array, dataBytes: number, claimed?: bigint): Buffer {
  const json = Buffer.from(header);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(claimed ?? BigInt(json.length));
  return Buffer.concat([prefix, json, Buffer.alloc(dataBytes)]);
}

const everyDtype: readonly TensorSource[] = [
  { name: 'f64', dtype: 'float64', shape: [2], data: Float64Array.of(Math.PI, -0) },
  { name: 'f32', dtype: 'float32', shape: [1, 3], data: Float32Array.of(1, 2, 3) },
  { name: 'f16', dtype: 'float16', shape: [3], data: Float16Array.of(1, 65504, NaN) },
  {
    name: 'bf16',
    dtype: 'bfloat16',
    shape: [2],
    data: new Float16Array(Uint16Array.of(0x3f80, 0xff81).buffer),
  },
  { name: 'i64', dtype: 'int64', shape: [], data: BigInt64Array.of(-(2n ** 63n)) },
  { name: 'i32', dtype: 'int32', shape: [1], data: Int32Array.of(-7) },
  { name: 'u32', dtype: 'uint32', shape: [1], data: Uint32Array.of(2 ** 32 - 1) },
  { name: 'i8', dtype: 'int8', shape: [3], data: Int8Array.of(-128, 0, 127) },
  { name: 'u8', dtype: 'uint8', shape: [1], data: Uint8Array.of(255) },
  { name: 'bool', dtype: 'bool', shape: [2], data: Uint8Array.of(1, 0) },
  { name: 'empty', dtype: 'float32', shape: [0, 4], data: new Float32Array(0) },
  { name: 'wide', dtype: 'uint8', shape: [128], data: new Uint8Array(128).fill(9) },
  { name: '__proto__', dtype: 'uint8', shape: [1], data: Uint8Array.of(3) },
  { name: '7', dtype: 'uint8', shape: [1], data: Uint8Array.of(4) },
];

test('tensors of every dtype are read back as they were written, one by one, with the metadata', async (t) => {
  const path = join(await folderOf(t), 'a.safetensors');
  const infos = await writeSafetensors(path, everyDtype, { format: 'pt', note: 'größe "1"' });
  const file = await openSafetensors(path);
  t.teardown(() => file.close());
  t.deepEqual(file.metadata, { format: 'pt', note: 'größe "1"' });
  t.deepEqual([...file.names].sort(), everyDtype.map(({ name }) => name).sort());
  for (const { name, dtype, shape, data } of everyDtype) {
    t.deepEqual(file.info(name), infos.get(name));
    t.deepEqual(await file.read(name), { dtype, shape, data } as never, name);
  }
  const unknown = await t.throwsAsync(file.read('nope'), { instanceOf: DomainError });
  t.is(unknown.code, 'NOT_FOUND');
});

test('the same tensors give the same bytes in any order, aligned for memory-mapping', async (t) => {
  const folder = await folderOf(t);
  await writeSafetensors(join(folder, 'a'), everyDtype, { b: '1', a: '2' });
  const infos = await writeSafetensors(join(folder, 'b'), everyDtype.toReversed(), {
    a: '2',
    b: '1',
  });
  t.deepEqual(await readFile(join(folder, 'a')), await readFile(join(folder, 'b')));
  for (const [name, { byteOffset, byteLength, shape }] of infos) {
    const elements = shape.reduce((size, dim) => size * dim, 1) || 1;
    t.is(byteOffset % (byteLength % 64 === 0 ? 64 : byteLength / elements), 0, name);
  }
});

test('data is made one tensor at a time, and a failed write leaves the old file and nothing else', async (t) => {
  const folder = await folderOf(t);
  const path = join(folder, 'a.safetensors');
  const made: string[] = [];
  const lazy = (name: string): TensorSource => ({
    name,
    dtype: 'float32',
    shape: [2],
    data: () => Promise.resolve(made.push(name)).then(() => Float32Array.of(1, 2)),
  });
  await writeSafetensors(path, [lazy('b'), lazy('a')]);
  t.deepEqual(made, ['a', 'b']);
  const before = await readFile(path);
  const bad: readonly TensorSource[][] = [
    [lazy('a'), { ...lazy('b'), data: Float32Array.of(1) }],
    [lazy('a'), { ...lazy('b'), data: Float64Array.of(1) }],
    [lazy('a'), { ...lazy('b'), data: () => Promise.reject(new Error('no')) }],
    [lazy('a'), lazy('a')],
    [lazy('__metadata__')],
    [lazy('\ud800')],
  ];
  for (const sources of bad) await t.throwsAsync(writeSafetensors(path, sources));
  t.deepEqual(await readFile(path), before);
  t.deepEqual(await readdir(folder), ['a.safetensors']);
});

const entry = (shape: string, begin: number, end: number, dtype = 'F32'): string =>
  `{"dtype":"${dtype}","shape":${shape},"data_offsets":[${begin},${end}]}`;

const malformed: readonly (readonly [what: string, bytes: Buffer, message: RegExp])[] = [
  ['shorter than the prefix', Buffer.alloc(4), /shorter than the 8 bytes/],
  ['a header longer than the file', fileOf('{}', 0, 1000n), /needs 1008/],
  ['a huge header', fileOf('{}', 0, 2n ** 63n), /has 9223372036854775808 bytes/],
  ['no JSON', fileOf('{"w":', 0), /not JSON/],
  ['no object', fileOf('[]', 0), /must start with \{/],
  ['an empty header', fileOf('', 0), /must start with \{/],
  ['not UTF-8', fileOf(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d), 0), /not UTF-8/],
  ['a lone surrogate', fileOf(`{"\\ud800":${entry('[1]', 0, 4)}}`, 4), /not valid Unicode/],
  [
    'a duplicate tensor',
    fileOf(`{"w":${entry('[1]', 0, 4)},"\\u0077" :${entry('[1]', 0, 4)}}`, 4),
    /"w" has a duplicate key/,
  ],
  [
    'a duplicate key',
    fileOf(`{"w":{"dtype":"U8","dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4),
    /"w" has a duplicate key/,
  ],
  [
    'an overlap',
    fileOf(`{"v":${entry('[2]', 0, 8)},"w":${entry('[1]', 4, 8)}}`, 8),
    /"w" starts at byte 4, overlaps tensor "v"/,
  ],
  [
    'a hole',
    fileOf(`{"v":${entry('[1]', 0, 4)},"w":${entry('[1]', 8, 12)}}`, 12),
    /"w" starts at byte 8, leaves a hole after tensor "v"/,
  ],
  [
    'a hole at the start',
    fileOf(`{"w":${entry('[1]', 4, 8)}}`, 8),
    /"w" starts at byte 4, leaves a hole/,
  ],
  [
    'out of range',
    fileOf(`{"w":${entry('[2]', 0, 8)}}`, 4),
    /"w" ends at byte 8 of the data, which has 4/,
  ],
  [
    'data that no tensor has',
    fileOf(`{"w":${entry('[1]', 0, 4)}}`, 8),
    /the data has 8 bytes, tensor "w" ends at 4/,
  ],
  [
    'the wrong size',
    fileOf(`{"w":${entry('[3]', 0, 8)}}`, 8),
    /"w" has 8 bytes, "F32" \[3\] takes 12/,
  ],
  ['a negative dimension', fileOf(`{"w":${entry('[-1]', 0, 4)}}`, 4), /"w" has shape \[-1\]/],
  ['a fractional dimension', fileOf(`{"w":${entry('[1.5]', 0, 6)}}`, 6), /"w" has shape/],
  ['an unsafe dimension', fileOf(`{"w":${entry('[9007199254740993]', 0, 4)}}`, 4), /"w" has shape/],
  [
    'an overflowing shape',
    fileOf(`{"w":${entry('[4294967296,4294967296,4294967296]', 0, 4)}}`, 4),
    /"w" has 4 bytes/,
  ],
  ['unsafe offsets', fileOf(`{"w":${entry('[1]', 0, 2 ** 60)}}`, 4), /"w" has data_offsets/],
  ['reversed offsets', fileOf(`{"w":${entry('[1]', 4, 0)}}`, 4), /"w" has data_offsets/],
  [
    'an unknown dtype',
    fileOf(`{"w":${entry('[1]', 0, 1, 'F8_E4M3')}}`, 1),
    /"w" has dtype "F8_E4M3", known are F64/,
  ],
  [
    'a dtype of the prototype',
    fileOf(`{"w":${entry('[1]', 0, 1, 'constructor')}}`, 1),
    /"w" has dtype/,
  ],
  [
    'an unknown key',
    fileOf(`{"w":{"x":1,"dtype":"U8","shape":[],"data_offsets":[0,1]}}`, 1),
    /"w" has an unknown key "x"/,
  ],
  ['no entry', fileOf('{"w":null}', 0), /"w" must be an object/],
  [
    'nested junk',
    fileOf(`{"w":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, 0),
    /"w" must be an object/,
  ],
  ['metadata that is not text', fileOf('{"__metadata__":{"a":1}}', 0), /strings to strings/],
];

for (const [what, bytes, message] of malformed) {
  test(`a file is refused for ${what}`, async (t) => {
    const path = join(await folderOf(t), 'bad.safetensors');
    await writeFile(path, bytes);
    const error = await t.throwsAsync(openSafetensors(path), { instanceOf: DomainError, message });
    t.is(error.code, 'INVALID_ARGUMENT');
    t.is(error.field, path);
  });
}

test('a missing file is not found, and a file cut short while open is data loss', async (t) => {
  const path = join(await folderOf(t), 'a.safetensors');
  t.is((await t.throwsAsync<DomainError>(openSafetensors(path)))?.code, 'NOT_FOUND');
  await writeSafetensors(path, everyDtype);
  const file = await openSafetensors(path);
  t.teardown(() => file.close());
  await writeFile(path, '');
  t.is((await t.throwsAsync<DomainError>(file.read('f32')))?.code, 'DATA_LOSS');
});

test('a damaged file opens or is refused with a typed error, and never anything else', async (t) => {
  const path = join(await folderOf(t), 'a.safetensors');
  await writeSafetensors(path, everyDtype, { note: 'fuzz' });
  const good = await readFile(path);
  const seed = Date.now() % 2 ** 31;
  t.log(`seed ${seed}`);
  const random = uniform(seed);
  const below = (limit: number): number => Math.floor(((random() + 1) / 2) * limit);
  const digits = Buffer.from('0123456789-"{}[],:\\eE. ');
  let refused = 0;
  for (let round = 0; round < 1000; round++) {
    let bytes: Buffer = Buffer.from(good);
    for (let edits = below(3); edits >= 0; edits--) {
      const at = below(Math.min(bytes.length, 1100));
      const kind = below(4);
      if (kind === 0) bytes[at] = below(256);
      else if (kind === 1) bytes[at] = digits[below(digits.length)] ?? 0;
      else if (kind === 2) bytes = bytes.subarray(0, at);
      else bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + below(20))]);
      if (bytes.length === 0) break;
    }
    await writeFile(path, bytes);
    try {
      const file = await openSafetensors(path);
      for (const name of file.names) await file.read(name);
      await file.close();
    } catch (error) {
      refused++;
      if (!(error instanceof DomainError)) throw error;
    }
  }
  t.true(refused > 500, `${refused} of 1000 refused`);
});

test('an ONNX model reads its weights from the file, at any offset in a page', async (t) => {
  const folder = await folderOf(t);
  const infos = await writeSafetensors(join(folder, 'w.safetensors'), [
    { name: 'bias', dtype: 'float32', shape: [3], data: Float32Array.of(1, 2, 3) },
    { name: 'pad', dtype: 'uint8', shape: [5], data: new Uint8Array(5) },
    { name: 'weight', dtype: 'float32', shape: [16], data: new Float32Array(16).fill(2) },
  ]);
  const x = input('x', 'float32', ['batch', 3]);
  const y = o.Mul(o.Add(x, parameter('bias', [3])), o.ReduceSum(parameter('weight', [16])));
  const model = emitModel(graphOf([x], { y }), {
    name: 'm',
    weights: (name) => {
      const info = infos.get(name);
      return info && { location: 'w.safetensors', ...info };
    },
  });
  await writeFile(join(folder, 'm.onnx'), model);
  const backend = await createBackend();
  t.teardown(() => backend.dispose());
  const session = await backend.load(join(folder, 'm.onnx'), { disablePrepacking: true });
  const { fetched } = await session.run({
    x: { dtype: 'float32', shape: [1, 3], data: Float32Array.of(0, 0, 1) },
  });
  t.deepEqual(fetched['y']?.data, Float32Array.of(32, 64, 128));
});
