import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { DomainError } from '../lib/errors.ts';
import type { Tensor } from '../lib/graph/types.ts';
import type { VariantName } from '../lib/models/variants.ts';
import { openForeignWeights } from '../lib/checkpoints/open.ts';
import { importVariant } from '../lib/checkpoints/variant.ts';
import {
  called,
  flax,
  named,
  pickle,
  rebuilt,
  torchLegacy,
  torchTar,
  torchZip,
} from './support/checkpoints.ts';
import { tensor, uniform } from './support/engine.ts';
import { demo, fileOf, folderOf, published, randomTensor, small } from './support/importing.ts';

// A tar archive ends with padding, which may be missing.
for (const [format, bytes, padding] of [
  ['PyTorch zip', torchZip(small), 0],
  ['PyTorch before 1.6', torchLegacy(small), 0],
  ['PyTorch tar', torchTar(small), 1536],
] as const) {
  test(`a checkpoint in the format ${format} that is cut short says so`, async (t) => {
    const needed = bytes.length - padding;
    for (let part = 1; part < 12; part++) {
      const length = Math.floor((needed * part) / 12);
      const path = await fileOf(t, bytes.subarray(0, length));
      await t.throwsAsync(
        async () => {
          const { tensors } = await openForeignWeights(path);
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
  test(`a damaged checkpoint in the format ${format} is read or refused with a typed error`, async (t) => {
    const path = await fileOf(t, bytes);
    const draw = uniform(11);
    const below = (limit: number): number => Math.floor(((draw() + 1) / 2) * limit);
    let refused = 0;
    for (let round = 0; round < 250; round++) {
      const damaged = Buffer.from(bytes);
      for (let i = 0; i <= below(3); i++) damaged[below(damaged.length)] = below(256);
      await writeFile(path, damaged);
      try {
        const checkpoint = await openForeignWeights(path);
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

test('a pickle that would run a command is refused, naming the command', async (t) => {
  const command = called(named('os', 'system'), ['touch /tmp/owned']);
  const bomb = new Map([['conv1.weight', command]]);
  await refused(
    t,
    torchZip(small, bomb),
    'CHECKPOINT_UNSAFE',
    /names "os\.system".*nothing was run/,
  );
  const stacked = Buffer.from('\x80\x04\x8c\x05posix\x8c\x06system\x93(X\x02\0\0\0lstR.', 'latin1');
  await refused(t, stacked, 'CHECKPOINT_UNSAFE', /names "posix\.system"/);
  const reduced = Buffer.from('\x80\x02cbuiltins\neval\n(X\x01\0\0\x001tR.', 'latin1');
  await refused(t, reduced, 'CHECKPOINT_UNSAFE', /names "builtins\.eval"/);
  const instance = Buffer.from('\x80\x02(ios\nsystem\n.', 'latin1');
  await refused(t, instance, 'CHECKPOINT_MALFORMED', /opcode 0x69/);
});

test('a pickle that states more than it holds is refused', async (t) => {
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
    /4294967295 more bytes were expected/,
  );
  await refused(t, pickle([1, 2]), 'CHECKPOINT_MALFORMED', /not a PyTorch checkpoint/);
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

test('msgpack nested too deeply or with too many entries is refused before it takes memory', async (t) => {
  const nested = Buffer.concat([Buffer.from([0x81, 0xa1, 0x61]), Buffer.alloc(1 << 20, 0x91)]);
  await refused(t, nested, 'CHECKPOINT_UNSAFE', /nested more than 64 deep/);
  const counted = Buffer.from([0x81, 0xa1, 0x61, 0xdd, 0xff, 0xff, 0xff, 0xff]);
  await refused(t, counted, 'CHECKPOINT_UNSAFE', /more than 1000000 entries/);
  const long = Buffer.from([0x81, 0xa1, 0x61, 0xc6, 0xff, 0xff, 0xff, 0xff, 0]);
  await refused(t, long, 'CHECKPOINT_TRUNCATED', /ends before all the bytes it states/);
  const whole = flax({ conv1: { kernel: randomTensor([7, 7, 3, 12]) } });
  await refused(
    t,
    whole.subarray(0, -9),
    'CHECKPOINT_TRUNCATED',
    /ends before all the bytes it states/,
  );
});

test('NaN or infinite weights are refused with their position', async (t) => {
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

test('a checkpoint of another model and a file that is not a checkpoint get different errors', async (t) => {
  await refused(
    t,
    torchZip(published('vit', 'vision')),
    'CHECKPOINT_FOREIGN',
    /holds no tensor of a ResNet \(torchvision\): its tensors are embeddings\./,
  );
  await refused(t, Buffer.from('<html>'), 'CHECKPOINT_MALFORMED', /is not a checkpoint/);
  await refused(t, Buffer.alloc(0), 'CHECKPOINT_MALFORMED', /is not a checkpoint/);
  await t.throwsAsync(openForeignWeights('/absent/file'), { message: /no such file/ });
});
