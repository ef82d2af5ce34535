import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import type { Tensor } from '../../lib/graph/types.ts';
import { loadPreset } from '../../lib/models/preset.ts';
import { type VariantName, variantParameters } from '../../lib/models/variants.ts';
import type { State } from './checkpoints.ts';
import { tensor, uniform } from './engine.ts';

export const demo = loadPreset('demo');

export async function folderOf(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'radscribe-import-'));
  t.teardown(() => rm(folder, { recursive: true }));
  return folder;
}

export async function fileOf(t: ExecutionContext, bytes: Uint8Array): Promise<string> {
  const path = join(await folderOf(t), 'checkpoint');
  await writeFile(path, bytes);
  return path;
}

const random = uniform(4);
export const randomTensor = (shape: readonly number[]): Tensor =>
  tensor(Array.from({ length: shape.reduce((a, b) => a * b, 1) }, random), shape);

/** Every tensor of one part of a variant under the name that its architecture publishes. */
export const published = (variant: VariantName, part: string): Map<string, Tensor> =>
  new Map(
    variantParameters(variant, demo)
      .filter(({ name }) => name.startsWith(`${part}.`))
      .map(({ name, shape }) => [name.slice(part.length + 1), randomTensor(shape)]),
  );

export const small: State = new Map([
  ['a.weight', randomTensor([2, 3])],
  ['b.bias', randomTensor([4])],
]);
