import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { invalidArgument } from '../errors.ts';
import type { Tensor } from '../graph/types.ts';
import { initialTensor } from '../models/init.ts';
import { type ParameterSpec, normal } from '../models/parameters.ts';
import type { Preset } from '../models/preset.ts';
import { backboneOf, variantParameters } from '../models/variants.ts';
import { openSafetensors } from '../safetensors/safetensors.ts';
import type { TrainingConfig } from './config.ts';
import type { Parameters } from './run-context.ts';

/** Amplitude of the sines of position; the tokens that they are added to are about 1. */
const amplitude = 0.5;

/**
 * Position embeddings that encode row and column from the start (Beyer et al. 2022, "Better plain ViT
 * baselines"): a transformer without pretraining takes long to learn which patches are neighbours.
 */
function sinusoidal([, rows = 1, width = 4]: readonly number[]): Float32Array {
  const data = new Float32Array(rows * width);
  const side = Math.round(Math.sqrt(rows - 1));
  const quarter = Math.floor(width / 4);
  for (let patch = 0; patch < rows - 1; patch++) {
    const at = (patch + 1) * width;
    for (let i = 0; i < quarter; i++) {
      const rate = 10_000 ** (-i / quarter);
      const [column, row] = [(patch % side) * rate, Math.floor(patch / side) * rate];
      data[at + i] = amplitude * Math.sin(column);
      data[at + quarter + i] = amplitude * Math.cos(column);
      data[at + 2 * quarter + i] = amplitude * Math.sin(row);
      data[at + 3 * quarter + i] = amplitude * Math.cos(row);
    }
  }
  return data;
}

/** Initial values for a vision transformer without pretrained weights: see `initialization` in config.ts. */
function fromScratch(spec: ParameterSpec, seed: number): Tensor | undefined {
  const { name, shape } = spec;
  if (name.endsWith('embeddings.position_embeddings')) {
    return { dtype: 'float32', shape, data: sinusoidal(shape) };
  }
  if (!name.endsWith('.weight') || shape.length < 2) return undefined;
  const fanIn = shape.slice(1).reduce((product, dim) => product * dim, 1);
  return initialTensor({ name, shape, initializer: normal(fanIn ** -0.5) }, seed);
}

/** The initial value of every parameter, by seed, `initialization` and `initialWeights`. */
export async function initialParameters(
  config: TrainingConfig,
  preset: Preset,
): Promise<{ readonly parameters: Parameters; readonly taken: number }> {
  const { variant, seed, initialization, initialWeights } = config;
  const scratch = initialization === 'scratch' && backboneOf(variant) === 'vit';
  const parameters = new Map<string, Tensor>();
  const specs = variantParameters(variant, preset);
  for (const spec of specs) {
    const own = scratch && spec.name.startsWith('vision.') ? fromScratch(spec, seed) : undefined;
    parameters.set(spec.name, own ?? initialTensor(spec, seed));
  }
  const taken = initialWeights === null ? 0 : await take(initialWeights, specs, parameters);
  return { parameters, taken };
}

/** Replaces the parameters that the files hold under the same name and shape; returns how many. */
async function take(
  place: string,
  specs: readonly ParameterSpec[],
  parameters: Map<string, Tensor>,
): Promise<number> {
  let taken = 0;
  const misfits: string[] = [];
  for (const path of await weightFiles(place)) {
    const file = await openSafetensors(path);
    try {
      for (const { name, shape } of specs) {
        if (!file.names.includes(name)) continue;
        const info = file.info(name);
        if (String(info.shape) !== String(shape) || info.dtype !== 'float32') {
          misfits.push(
            `${name} is ${info.dtype}[${info.shape.join()}], not float32[${shape.join()}]`,
          );
          continue;
        }
        parameters.set(name, await file.read(name));
        taken += 1;
      }
    } finally {
      await file.close();
    }
  }
  if (taken > 0) return taken;
  const why = misfits.length > 0 ? `; ${misfits.slice(0, 3).join('; ')}` : '';
  const message = `${place} has no tensor that fits the variant and the preset${why}`;
  throw invalidArgument('WEIGHTS_MISFIT', 'initialWeights', message);
}

async function weightFiles(place: string): Promise<readonly string[]> {
  const found = await stat(place).catch(() => undefined);
  if (!found) throw invalidArgument('WEIGHTS_MISSING', 'initialWeights', `${place} does not exist`);
  if (!found.isDirectory()) return [place];
  const names = await readdir(place);
  return names.filter((name) => name.endsWith('.safetensors')).map((name) => join(place, name));
}
