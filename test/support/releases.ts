import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { loadPreset } from '../../lib/models/preset.ts';
import type { VariantName } from '../../lib/models/variants.ts';
import { parseDecodingOptions } from '../../lib/releases/decoding.ts';
import { digestOf } from '../../lib/releases/digest.ts';
import {
  type Manifest,
  type ManifestContent,
  formatVersion,
  parseManifest,
  releaseFiles,
  releaseIdOf,
} from '../../lib/releases/manifest.ts';

export async function folderOf(t: ExecutionContext<unknown>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'radscribe-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** So few digits that every one of them counts. */
const rounded = (value: number): number => Number(value.toFixed(3));

/** Temperatures from 0.5 to 3 and thresholds from 0.2 to 0.8, no two alike, none neutral. */
export const unevenLabels = {
  temperatures: Array.from({ length: 14 }, (_, i) => rounded(0.5 + (2.5 * i) / 13)),
  thresholds: Array.from({ length: 14 }, (_, i) => rounded(0.2 + (0.6 * ((5 * i) % 14)) / 13)),
};

/** A release as a training run describes it. */
export function description(seed = 1, variant: VariantName = 'vit-label', microF1 = 0.81234) {
  const preset = loadPreset('demo');
  const content: Omit<ManifestContent, 'formatVersion' | 'files'> = {
    variant,
    preset,
    preprocessing: {
      height: preset.imageSize,
      width: preset.imageSize,
      resize: 'contain',
      pad: 0,
      kernel: 'linear',
      mean: [0.31, 0.52, 0.43],
      std: [0.21, 0.27, 0.33],
    },
    labels: unevenLabels,
    outOfDistribution: { mean: [-0.4, 1.3], std: [0.7, 2.1], threshold: 3.5, falseAlarms: 0.01 },
    decoding: parseDecodingOptions({ strategy: 'beam', maxTokens: 192 }),
    quantization: 'none',
    provenance: {
      createdAt: '2026-01-02T03:04:05.000Z',
      dataset: { name: 'phantom:100', fingerprint: 'abc', studies: { train: 80, validate: 20 } },
      config: { seed, nested: { b: 1, a: [1, null] } },
      codeVersion: 'test',
      parent: null,
      seed,
      durationS: 12.5,
    },
    evaluation: {
      clinical: {
        title: 'Clinical efficacy',
        split: 'test',
        studies: 50,
        model: { metrics: { microF1 }, intervals: { microF1: [0.78, 0.84] } },
        baselines: { 'constant report': { metrics: { microF1: 0.3 } } },
      },
    },
  };
  return content;
}

interface FakeOptions {
  readonly variant?: VariantName;
  /** Of each file, approximately. */
  readonly bytes?: number;
  readonly microF1?: number;
}

/** A complete release in a folder, of small files that are no models; the store does not read them. */
export async function fakeRelease(
  folder: string,
  seed = 1,
  { variant, bytes = 2000, microF1 }: FakeOptions = {},
): Promise<Manifest> {
  await mkdir(folder, { recursive: true });
  const files = await Promise.all(
    releaseFiles.map(async (name, i) => {
      const content = Buffer.alloc(bytes + i, `${name} ${seed} `);
      await writeFile(join(folder, name), content);
      return [name, digestOf(content)] as const;
    }),
  );
  const content = {
    formatVersion,
    ...description(seed, variant, microF1),
    files: Object.fromEntries(files),
  };
  const manifest = { ...content, id: releaseIdOf(content) };
  await writeFile(join(folder, 'release.json'), JSON.stringify(manifest));
  return parseManifest(manifest);
}
