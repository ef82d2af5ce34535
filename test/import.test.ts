import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { DomainError } from '../lib/errors.ts';
import type { Tensor } from '../lib/graph/types.ts';
import { initialTensor } from '../lib/models/init.ts';
import { loadPreset } from '../lib/models/preset.ts';
import { type VariantName, variantParameters } from '../lib/models/variants.ts';
import { openCheckpoint } from '../lib/weights/import/open.ts';
import { type PartReport, importVariant } from '../lib/weights/import/variant.ts';
import { openSafetensors, writeSafetensors } from '../lib/weights/safetensors.ts';
import {
  type State,
  type Tree,
  called,
  flax,
  named,
  pickle,
  rebuilt,
  torchLegacy,
  torchTar,
  torchZip,
} from './support/checkpoints.ts';
import { numbers, tensor, uniform } from './support/engine.ts';

const demo = loadPreset('demo');

async function folderOf(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'radscribe-import-'));
  t.teardown(() => rm(folder, { recursive: true }));
  return folder;
}

async function fileOf(t: ExecutionContext, bytes: Uint8Array): Promise<string> {
  const path = join(await folderOf(t), 'checkpoint');
  await writeFile(path, bytes);
  return path;
}

const random = uniform(4);
const randomTensor = (shape: readonly number[]): Tensor =>
  tensor(Array.from({ length: shape.reduce((a, b) => a * b, 1) }, random), shape);

/** Every tensor of one part of a variant under the name that its architecture publishes. */
const published = (variant: VariantName, part: string): Map<string, Tensor> =>
  new Map(
    variantParameters(variant, demo)
      .filter(({ name }) => name.startsWith(`${part}.`))
      .map(({ name, shape }) => [name.slice(part.length + 1), randomTensor(shape)]),
  );

const small: State = new Map([
  ['a.weight', randomTensor([2, 3])],
  ['b.bias', randomTensor([4])],
]);

// A tar archive ends with padding that nobody misses.
for (const [format, bytes, padding] of [
  ['PyTorch zip', torchZip(small), 0],
  ['PyTorch before 1.6', torchLegacy(small), 0],
  ['PyTorch tar', torchTar(small), 1536],
] as const) {
  test(`a checkpoint in the format ${format} gives its tensors`, async (t) => {
    const checkpoint = await openCheckpoint(await fileOf(t, bytes));
    t.teardown(() => checkpoint.close());
    t.is(checkpoint.format, format);
    t.deepEqual([...checkpoint.tensors.keys()], [...small.keys()]);
    for (const [name, expected] of small) {
      t.deepEqual(await checkpoint.tensors.get(name)?.read(), expected);
    }
  });

  test(`a checkpoint in the format ${format} that is cut short says so`, async (t) => {
    const needed = bytes.length - padding;
    for (let part = 1; part < 12; part++) {
      const length = Math.floor((needed * part) / 12);
      const path = await fileOf(t, bytes.subarray(0, length));
      await t.throwsAsync(
        async () => {
          const { tensors } = await openCheckpoint(path);
          for (const tensor of tensors.values()) await tensor.read();
        },
        { name: 'DomainError', message: /checkpoint: / },
        `${length} of ${bytes.length} bytes`,
      );
    }
  });
}

for (const [format, bytes] of [
  ['PyTorch zip', torchZip(small)],
  ['PyTorch before 1.6', torchLegacy(small)],
  ['PyTorch tar', torchTar(small)],
  ['Flax msgpack', flax({ a: { kernel: randomTensor([2, 3]), bias: randomTensor([3]) } })],
] as const) {
  test(`a damaged checkpoint in the format ${format} is read or refused, never worse`, async (t) => {
    const path = await fileOf(t, bytes);
    const draw = uniform(11);
    const below = (limit: number): number => Math.floor(((draw() + 1) / 2) * limit);
    let refused = 0;
    for (let round = 0; round < 250; round++) {
      const damaged = Buffer.from(bytes);
      for (let i = 0; i <= below(3); i++) damaged[below(damaged.length)] = below(256);
      await writeFile(path, damaged);
      try {
        const checkpoint = await openCheckpoint(path);
        for (const tensor of checkpoint.tensors.values()) {
          await tensor.read().catch((error: unknown) => t.true(error instanceof DomainError));
        }
        await checkpoint.close();
      } catch (error) {
        refused++;
        if (!(error instanceof DomainError)) throw error;
      }
    }
    t.true(refused > 0);
  });
}

test('a tensor that is a transposed part of a larger storage is copied out of it', async (t) => {
  const storage = tensor([0, 1, 2, 3, 4, 5, 6, 7], [8]);
  const root = new Map([['t', rebuilt(storage, '0', { shape: [2, 3], strides: [1, 2] })]]);
  const checkpoint = await openCheckpoint(
    await fileOf(t, torchZip(new Map([['t', storage]]), root)),
  );
  const read = await checkpoint.tensors.get('t')?.read();
  await checkpoint.close();
  t.deepEqual(read, tensor([0, 2, 4, 1, 3, 5], [2, 3]));
});

test('a Flax checkpoint gives names and kernels as PyTorch has them', async (t) => {
  const dense = randomTensor([2, 3]);
  const tree: Tree = {
    params: {
      layer: {
        dense: { kernel: dense, bias: randomTensor([3]) },
        conv: { kernel: tensor([0, 1, 2, 3, 4, 5], [1, 3, 1, 2]) },
        LayerNorm: { scale: randomTensor([2]) },
        words: { embedding: randomTensor([5, 2]) },
      },
    },
  };
  const checkpoint = await openCheckpoint(await fileOf(t, flax(tree)));
  t.deepEqual(
    [...checkpoint.tensors].map(([name, { shape }]) => [name, shape]),
    [
      ['layer.dense.weight', [3, 2]],
      ['layer.dense.bias', [3]],
      ['layer.conv.weight', [2, 1, 1, 3]],
      ['layer.LayerNorm.weight', [2]],
      ['layer.words.weight', [5, 2]],
    ],
  );
  const [a, b, c, d, e, f] = numbers(dense);
  const read = await checkpoint.tensors.get('layer.dense.weight')?.read();
  t.deepEqual(numbers(read), [a, d, b, e, c, f]);
  t.deepEqual(
    numbers(await checkpoint.tensors.get('layer.conv.weight')?.read()),
    [0, 2, 4, 1, 3, 5],
  );
});

/** Imports one part and gives the report and the written tensors. */
async function importPart(
  t: ExecutionContext,
  variant: VariantName,
  part: 'vision' | 'encoder' | 'decoder',
  bytes: Uint8Array,
): Promise<{ report: PartReport; read: (name: string) => Promise<Tensor> }> {
  const output = join(await folderOf(t), 'initial.safetensors');
  const checkpoints = { [part]: await fileOf(t, bytes) };
  const [report] = await importVariant({ variant, preset: demo, checkpoints, seed: 3, output });
  const file = await openSafetensors(output);
  t.teardown(() => file.close());
  t.deepEqual(
    [...file.names].sort(),
    variantParameters(variant, demo)
      .map(({ name }) => name)
      .sort(),
  );
  return { report: report as PartReport, read: (name) => file.read(name) };
}

test('CheXNet as it was published gives the vision of chexnet', async (t) => {
  const state = published('chexnet', 'vision');
  const old = new Map(
    [...state].map(([name, value]) => [
      `module.densenet121.${name.replace(/(denselayer\d+\.(norm|conv))(\d)/, '$1.$3')}`,
      value,
    ]),
  );
  old.set('module.densenet121.classifier.0.weight', randomTensor([14, 8]));
  const { report, read } = await importPart(t, 'chexnet', 'vision', torchLegacy(old));
  t.is(report.matched.length, state.size);
  t.deepEqual(report.initial, []);
  t.deepEqual(report.unused, ['module.densenet121.classifier.0.weight']);
  for (const [name, value] of state) t.deepEqual(await read(`vision.${name}`), value);
  const fresh = variantParameters('chexnet', demo).find(({ name }) => name.startsWith('encoder.'));
  if (!fresh) return t.fail();
  return t.deepEqual(await read(fresh.name), initialTensor(fresh, 3));
});

test('ResNet101 of torchvision gives the vision of resnet101, and counts what it does not use', async (t) => {
  const state = published('resnet101', 'vision');
  const extra = new Map(state)
    .set('bn1.num_batches_tracked', tensor([5], [], 'int64'))
    .set('fc.weight', randomTensor([10, 4]));
  const { report, read } = await importPart(t, 'resnet101', 'vision', torchZip(extra));
  t.deepEqual(report.unused, ['bn1.num_batches_tracked', 'fc.weight']);
  t.deepEqual(report.initial, []);
  t.deepEqual(await read('vision.conv1.weight'), state.get('conv1.weight'));
});

test('the positions of a ViT for another image size are interpolated, and the note says so', async (t) => {
  const state = published('vit', 'vision');
  const { hidden } = demo.vit;
  const grid = Array.from({ length: 17 * hidden }, (_, i) => (i < hidden ? 7 : 2));
  const name = 'embeddings.position_embeddings';
  state.set(name, tensor(grid, [1, 17, hidden]));
  const renamed = new Map([...state].map(([key, value]) => [`vit.${key}`, value]));
  const { report, read } = await importPart(t, 'vit', 'vision', torchZip(renamed));
  t.deepEqual(report.notes, [`vision.${name}: interpolated from 4 x 4 to 8 x 8 positions`]);
  const positions = numbers(await read(`vision.${name}`));
  t.deepEqual(new Set(positions.slice(0, hidden)), new Set([7]));
  // Weights of cubic convolution sum to 1: a constant grid stays as it is.
  t.true(positions.slice(hidden).every((x) => Math.abs(x - 2) < 1e-6));
});

test("BERT's old names give the encoder; what BERT does not have stays initial", async (t) => {
  const state = published('vit-label', 'encoder');
  const bert = new Map(
    [...state]
      .filter(([name]) => !/^(image_embeddings|label_attention)/.test(name))
      .map(([name, value]) => [
        `bert.${name.replace(/LayerNorm\.weight$/, 'LayerNorm.gamma').replace(/LayerNorm\.bias$/, 'LayerNorm.beta')}`,
        value,
      ]),
  );
  const { report, read } = await importPart(t, 'vit-label', 'encoder', torchZip(bert));
  t.is(report.matched.length, bert.size);
  t.is(report.initial.length, state.size - bert.size);
  t.true(report.initial.every((name) => /image_embeddings|label_attention/.test(name)));
  const norm = 'embeddings.LayerNorm.weight';
  t.deepEqual(await read(`encoder.${norm}`), state.get(norm));
});

/** The nested dictionaries that Flax has for names with dots, kernels and embeddings under its names. */
function flaxTree(state: State): Tree {
  const root: Record<string, unknown> = {};
  for (const [name, value] of state) {
    const parts = name.split('.');
    const isTable = /shared|relative_attention_bias/.test(name);
    const isKernel = !isTable && value.shape.length === 2;
    if (isTable) parts[parts.length - 1] = 'embedding';
    if (isKernel) parts[parts.length - 1] = 'kernel';
    let node = root;
    for (const part of parts.slice(0, -1)) node = (node[part] ??= {}) as Record<string, unknown>;
    const [rows = 0, columns = 0] = value.shape;
    node[parts.at(-1) as string] = isKernel
      ? tensor(
          Array.from({ length: rows * columns }, (_, i) =>
            Number(value.data[(i % rows) * columns + Math.floor(i / rows)]),
          ),
          [columns, rows],
        )
      : value;
  }
  return root as Tree;
}

test('T5 of Flax, and T5 of PyTorch with its tied copies, give the same decoder', async (t) => {
  const state = published('vit', 'decoder');
  const shared = state.get('shared.weight') as Tensor;
  const fromFlax = await importPart(t, 'vit', 'decoder', flax(flaxTree(state)));
  const tied = new Map([['lm_head.weight', shared], ...state]);
  tied.set('decoder.embed_tokens.weight', shared).set('encoder.block.0.x', shared);
  const fromTorch = await importPart(t, 'vit', 'decoder', torchZip(tied));
  t.deepEqual(fromFlax.report.initial, []);
  t.deepEqual(fromFlax.report.unused, []);
  t.deepEqual(fromTorch.report.unused, ['encoder.block.0.x']);
  for (const [name, value] of state) {
    t.deepEqual(await fromFlax.read(`decoder.${name}`), value);
    t.deepEqual(await fromTorch.read(`decoder.${name}`), value);
  }
  tied.set('lm_head.weight', randomTensor(shared.shape));
  await t.throwsAsync(importPart(t, 'vit', 'decoder', torchZip(tied)), {
    message: /shared\.weight and lm_head\.weight differ: the model ties them/,
  });
});

test('weights in half precision become float32', async (t) => {
  const state = published('resnet101', 'vision');
  const name = 'conv1.weight';
  const { shape } = state.get(name) as Tensor;
  const size = shape.reduce((a, b) => a * b, 1);
  const words = new Uint16Array(size).fill(0x3fc0);
  state.set(name, { dtype: 'bfloat16', shape, data: new Float16Array(words.buffer) });
  const half = await importPart(t, 'resnet101', 'vision', torchZip(state));
  t.deepEqual(new Set(numbers(await half.read(`vision.${name}`))), new Set([1.5]));
});

/** Expects a failed import that leaves no output behind. */
async function refused(
  t: ExecutionContext,
  bytes: Uint8Array,
  reason: string,
  message: RegExp,
  variant: VariantName = 'resnet101',
): Promise<void> {
  const output = join(await folderOf(t), 'initial.safetensors');
  const checkpoints = { vision: await fileOf(t, bytes) };
  const error = await t.throwsAsync(
    importVariant({ variant, preset: demo, checkpoints, seed: 1, output }),
  );
  t.like(error, { reason, code: 'INVALID_ARGUMENT' });
  t.regex(error?.message ?? '', message);
  await t.throwsAsync(readFile(output), { code: 'ENOENT' });
}

test('a pickle that would run a command is refused by the name it asks for', async (t) => {
  const command = called(named('os', 'system'), ['touch /tmp/owned']);
  const bomb = new Map([['conv1.weight', command]]);
  await refused(
    t,
    torchZip(small, bomb),
    'CHECKPOINT_UNSAFE',
    /asks for "os\.system".*nothing was run/,
  );
  const stacked = Buffer.from('\x80\x04\x8c\x05posix\x8c\x06system\x93(X\x02\0\0\0lstR.', 'latin1');
  await refused(t, stacked, 'CHECKPOINT_UNSAFE', /asks for "posix\.system"/);
  const reduced = Buffer.from('\x80\x02cbuiltins\neval\n(X\x01\0\0\x001tR.', 'latin1');
  await refused(t, reduced, 'CHECKPOINT_UNSAFE', /asks for "builtins\.eval"/);
  const instance = Buffer.from('\x80\x02(ios\nsystem\n.', 'latin1');
  await refused(t, instance, 'CHECKPOINT_MALFORMED', /opcode 0x69/);
});

test('a pickle that claims what it does not hold is refused', async (t) => {
  await refused(
    t,
    Buffer.concat([Buffer.from('\x80\x02\x8b', 'latin1'), Buffer.from([255, 255, 255, 127])]),
    'CHECKPOINT_MALFORMED',
    /a number of 2147483647 bytes/,
  );
  await refused(
    t,
    Buffer.concat([Buffer.from('\x80\x02X', 'latin1'), Buffer.from([255, 255, 255, 255])]),
    'CHECKPOINT_TRUNCATED',
    /4294967295 more bytes were announced/,
  );
  await refused(t, pickle([1, 2]), 'CHECKPOINT_MALFORMED', /not a checkpoint of PyTorch/);
  const one = tensor([1], [1]);
  for (const view of [
    { shape: [1000, 1000], strides: [0, 0] },
    { shape: [2], strides: [1] },
  ]) {
    const root = new Map([['conv1.weight', rebuilt(one, '0', view)]]);
    const bytes = torchZip(new Map([['x', one]]), root);
    await refused(t, bytes, 'CHECKPOINT_MALFORMED', /does not fit its storage of 1 elements/);
  }
});

test('msgpack that is nested or counts without end is refused before it takes memory', async (t) => {
  const nested = Buffer.concat([Buffer.from([0x81, 0xa1, 0x61]), Buffer.alloc(1 << 20, 0x91)]);
  await refused(t, nested, 'CHECKPOINT_UNSAFE', /nested more than 64 deep/);
  const counted = Buffer.from([0x81, 0xa1, 0x61, 0xdd, 0xff, 0xff, 0xff, 0xff]);
  await refused(t, counted, 'CHECKPOINT_UNSAFE', /more than 1000000 entries/);
  const long = Buffer.from([0x81, 0xa1, 0x61, 0xc6, 0xff, 0xff, 0xff, 0xff, 0]);
  await refused(t, long, 'CHECKPOINT_TRUNCATED', /ends before all it announces/);
  const whole = flax({ conv1: { kernel: randomTensor([7, 7, 3, 12]) } });
  await refused(t, whole.subarray(0, -9), 'CHECKPOINT_TRUNCATED', /ends before all it announces/);
});

test('weights that are not finite are refused with their place', async (t) => {
  const state = published('resnet101', 'vision');
  const broken = state.get('layer1.0.conv1.weight') as Tensor;
  broken.data[13] = NaN as never;
  await refused(
    t,
    torchZip(state),
    'CHECKPOINT_NOT_FINITE',
    /layer1\.0\.conv1\.weight\[1,1,0,0\] is NaN: weights must be finite/,
  );
});

test('a tensor of another shape is refused with both shapes', async (t) => {
  const state = published('resnet101', 'vision').set('conv1.weight', randomTensor([64, 3, 7, 7]));
  await refused(
    t,
    torchZip(state),
    'CHECKPOINT_SHAPE',
    /conv1\.weight is \[64,3,7,7\] in the checkpoint, vision\.conv1\.weight of this preset is \[12,3,7,7\]/,
  );
});

test('a checkpoint of another model, and a file that is none, are told apart', async (t) => {
  await refused(
    t,
    torchZip(published('vit', 'vision')),
    'CHECKPOINT_FOREIGN',
    /holds nothing of a ResNet \(torchvision\): its tensors are embeddings\./,
  );
  await refused(t, Buffer.from('<html>'), 'CHECKPOINT_MALFORMED', /is no checkpoint/);
  await refused(t, Buffer.alloc(0), 'CHECKPOINT_MALFORMED', /is no checkpoint/);
  await t.throwsAsync(openCheckpoint('/absent/file'), { message: /no such file/ });
});

test('the same tensors in .safetensors are imported too', async (t) => {
  const state = published('resnet101', 'vision');
  const path = join(await folderOf(t), 'model.safetensors');
  await writeSafetensors(
    path,
    [...state].map(([name, { dtype, shape, data }]) => ({ name, dtype, shape, data })),
  );
  const { report } = await importPart(t, 'resnet101', 'vision', await readFile(path));
  t.deepEqual([report.initial, report.unused, report.format], [[], [], 'safetensors']);
});

test('the command prints what was matched, what stays initial and what is unused', async (t) => {
  const state = published('resnet101', 'vision').set('fc.weight', randomTensor([10, 4]));
  state.delete('bn1.bias');
  state.set('bn1.num_batches_tracked', tensor([5], [], 'int64'));
  const path = await fileOf(t, torchZip(state));
  const output = join(await folderOf(t), 'initial.safetensors');
  const cli = new URL('../services/trainer/cli.ts', import.meta.url).pathname;
  const options = ['--variant', 'resnet101', '--preset', 'demo', '--vision', path];
  const { stdout } = await promisify(execFile)(process.execPath, [
    cli,
    'import',
    ...options,
    '--output',
    output,
  ]);
  t.deepEqual(stdout.split('\n'), [
    `vision: ${path} (PyTorch zip) as ResNet (torchvision)`,
    `  matched: ${state.size - 2}`,
    '  left at their initial values: 1',
    '    vision.bn1.bias',
    '  unused: 1',
    '    fc.weight',
    '  counters that are no weights: 1',
    `${output}: initial weights of resnet101, preset demo`,
    '',
  ]);
});
