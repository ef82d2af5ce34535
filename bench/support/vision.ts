import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { flopsOf } from '../../lib/graph/flops.ts';
import type { Tensor } from '../../lib/graph/types.ts';
import { initialTensor } from '../../lib/models/init.ts';
import type { Preset } from '../../lib/models/preset.ts';
import { type VariantName, servingGraphs, variantParameters } from '../../lib/models/variants.ts';
import { emitModel } from '../../lib/onnx/emit.ts';
import type { Backend, Session } from '../../lib/runtime/backend.ts';
import { writeSafetensors } from '../../lib/safetensors/safetensors.ts';

/** Deterministic uniform numbers in [-1, 1), as a normalized image has them. */
export function randomImage(size: number): Tensor<'float32'> {
  let state = 1;
  const data = Float32Array.from({ length: 3 * size * size }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
  return { dtype: 'float32', shape: [1, 3, size, size], data };
}

/** A variant's vision as a release has it: a graph that points into a weights file beside it. */
export async function loadVision(
  backend: Backend,
  variant: VariantName,
  preset: Preset,
): Promise<{ readonly session: Session; readonly flops: number; dispose(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'radscribe-bench-'));
  const dispose = (): Promise<void> => rm(folder, { recursive: true });
  try {
    const location = 'vision.safetensors';
    const specs = variantParameters(variant, preset).filter(({ name }) =>
      name.startsWith('vision.'),
    );
    const infos = await writeSafetensors(
      join(folder, location),
      specs.map((spec) => {
        const data = (): Float32Array => initialTensor(spec, 1).data;
        return { name: spec.name, dtype: 'float32', shape: spec.shape, data };
      }),
    );
    const { vision } = servingGraphs(variant, preset);
    const path = join(folder, 'vision.onnx');
    const weights = (name: string) => {
      const info = infos.get(name);
      return info && { location, ...info };
    };
    await writeFile(path, emitModel(vision, { name: 'vision', weights }));
    const session = await backend.load(path);
    return { session, flops: flopsOf(vision, { batch: 1 }), dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}
