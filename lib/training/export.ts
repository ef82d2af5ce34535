import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Tensor } from '../graph/types.ts';
import type { Preset } from '../models/preset.ts';
import {
  type VariantName,
  type WeightPart,
  servingGraphs,
  variantParameters,
  weightPartOf,
} from '../models/variants.ts';
import { type WeightSource, emitModel } from '../onnx/emit.ts';
import { writeAtomically } from '../atomic.ts';
import { writeSafetensors } from '../safetensors/safetensors.ts';
import { writing } from './data/disk.ts';
import type { Parameters } from './run-context.ts';

/**
 * Writes the four graphs that serve a variant and the weights they read, as a release holds them:
 * vision, labeler, encoder and decoder .onnx; vision, labeler and generator .safetensors.
 */
export async function exportModels(
  folder: string,
  variant: VariantName,
  preset: Preset,
  parameters: Parameters,
): Promise<void> {
  await writing(folder, async () => {
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
    const sources = new Map<string, WeightSource>();
    for (const part of ['vision', 'labeler', 'generator'] satisfies WeightPart[]) {
      const location = `${part}.safetensors`;
      const own = variantParameters(variant, preset).filter(
        ({ name }) => weightPartOf(name) === part,
      );
      const tensors = own.map(({ name }) => {
        const { dtype, shape, data } = parameters.get(name) as Tensor;
        return { name, dtype, shape, data };
      });
      for (const [name, info] of await writeSafetensors(join(folder, location), tensors)) {
        const { byteOffset, byteLength } = info;
        sources.set(name, { location, byteOffset, byteLength });
      }
    }
    for (const [name, graph] of Object.entries(servingGraphs(variant, preset))) {
      const bytes = emitModel(graph, { name, weights: (parameter) => sources.get(parameter) });
      await writeAtomically(join(folder, `${name}.onnx`), async (file) => file.writeFile(bytes));
    }
  });
}
