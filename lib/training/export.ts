import { rm } from 'node:fs/promises';
import type { Preset } from '../models/preset.ts';
import type { VariantName } from '../models/variants.ts';
import { writeModels } from '../releases/models.ts';
import { writing } from './data/disk.ts';
import type { Parameters } from './run-context.ts';

/** Writes the models of a variant with these parameters into a folder of their own. */
export async function exportModels(
  folder: string,
  variant: VariantName,
  preset: Preset,
  parameters: Parameters,
): Promise<void> {
  await writing(folder, async () => {
    await rm(folder, { recursive: true, force: true });
    const description = { variant, preset, quantization: 'none' } as const;
    await writeModels(folder, description, (name) => parameters.get(name));
  });
}
