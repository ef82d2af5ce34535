import { invalidArgument } from '../errors.ts';
import { initialTensor } from '../models/init.ts';
import type { Preset } from '../models/preset.ts';
import {
  type Backbone,
  type VariantName,
  backboneOf,
  variantParameters,
} from '../models/variants.ts';
import { writeSafetensors } from '../safetensors/safetensors.ts';
import type { Architecture } from './architectures.ts';
import { type Match, type MatchReport, matchForeignWeights } from './match.ts';
import { openForeignWeights } from './open.ts';

/** The parts of a variant that published checkpoints exist for. */
const importableParts = ['vision', 'encoder', 'decoder'] as const;
export type ImportablePart = (typeof importableParts)[number];

const backbones: Readonly<Record<Backbone, Architecture>> = {
  chexnet: 'densenet',
  resnet101: 'resnet',
  vit: 'vit',
};

export const architectureOf = (part: ImportablePart, variant: VariantName): Architecture =>
  part === 'vision' ? backbones[backboneOf(variant)] : part === 'encoder' ? 'bert' : 't5';

export interface ImportOptions {
  readonly variant: VariantName;
  readonly preset: Preset;
  /** The published checkpoint of each part that has one. */
  readonly checkpoints: Readonly<Partial<Record<ImportablePart, string>>>;
  /** Seed of the parameters that no checkpoint holds: they start as in the original implementations. */
  readonly seed: number;
  /** The .safetensors file to write: every parameter of the variant under its own name. */
  readonly output: string;
}

export interface PartReport extends MatchReport {
  readonly part: ImportablePart;
  readonly path: string;
  readonly format: string;
}

/**
 * Turns published checkpoints into the initial weights of a variant, with one tensor in memory at a time.
 * Throws as `openForeignWeights` and `matchForeignWeights` do, and INVALID_ARGUMENT for NaN or infinite
 * weights; `output` then keeps its old content.
 */
export async function importVariant(options: ImportOptions): Promise<PartReport[]> {
  const { variant, preset, checkpoints, seed, output } = options;
  const specs = variantParameters(variant, preset);
  const given = importableParts.filter((part) => checkpoints[part] !== undefined);
  if (given.length === 0) {
    const message = `no checkpoint given, expected at least one of ${importableParts.join(', ')}`;
    throw invalidArgument('CHECKPOINT_MISSING', 'checkpoints', message);
  }
  const owners = new Map<string, Match>();
  const reports: PartReport[] = [];
  await using opened = new AsyncDisposableStack();
  for (const part of given) {
    const checkpoint = await openForeignWeights(checkpoints[part] as string);
    opened.defer(() => checkpoint.close());
    const prefix = `${part}.`;
    const own = specs.filter(({ name }) => name.startsWith(prefix));
    const match = matchForeignWeights(own, checkpoint, architectureOf(part, variant), prefix);
    for (const name of match.matched) owners.set(name, match);
    const { matched, initial, unused, notes } = match;
    const { path, format } = checkpoint;
    reports.push({ part, path, format, matched, initial, unused, notes });
  }
  const sources = specs.map((spec) => ({
    name: spec.name,
    dtype: 'float32' as const,
    shape: spec.shape,
    data: async () => {
      const match = owners.get(spec.name);
      return (match ? await match.read(spec.name) : initialTensor(spec, seed)).data;
    },
  }));
  await writeSafetensors(output, sources, { variant, preset: JSON.stringify(preset) });
  return reports;
}
