import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import type { Tensor } from '../lib/graph/types.ts';
import { initialTensor } from '../lib/models/init.ts';
import { type VariantName, variantParameters } from '../lib/models/variants.ts';
import { openForeignWeights } from '../lib/checkpoints/open.ts';
import { type PartReport, importVariant } from '../lib/checkpoints/variant.ts';
import { openSafetensors, writeSafetensors } from '../lib/safetensors/safetensors.ts';
import {
  type State,
  type Tree,
  flax,
  rebuilt,
  torchLegacy,
  torchTar,
  torchZip,
} from './support/checkpoints.ts';
import { numbers, tensor } from './support/engine.ts';
import { demo, fileOf, folderOf, published, randomTensor, small } from './support/importing.ts';

for (const [format, bytes] of [
  ['PyTorch zip', torchZip(small)],
  ['PyTorch before 1.6', torchLegacy(small)],
  ['PyTorch tar', torchTar(small)],
] as const) {
  test(`a checkpoint in the format ${format} gives its tensors`, async (t) => {
    const checkpoint = await openForeignWeights(await fileOf(t, bytes));
    t.teardown(() => checkpoint.close());
    t.is(checkpoint.format, format);
    t.deepEqual([...checkpoint.tensors.keys()], [...small.keys()]);
    for (const [name, expected] of small) {
      t.deepEqual(await checkpoint.tensors.get(name)?.read(), expected);
    }
  });
}

test('a tensor that is a transposed part of a larger storage is copied out of it', async (t) => {
  const storage = tensor([0, 1, 2, 3, 4, 5, 6, 7], [8]);
  const root = new Map([['t', rebuilt(storage, '0', { shape: [2, 3], strides: [1, 2] })]]);
  const checkpoint = await openForeignWeights(
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
  const checkpoint = await openForeignWeights(await fileOf(t, flax(tree)));
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
  const cli = new URL('../cli/main.ts', import.meta.url).pathname;
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
