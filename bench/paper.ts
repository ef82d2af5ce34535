import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { imagenet } from '../lib/image/preprocess.ts';
import { countFlops, countParameters } from '../lib/models/counts.ts';
import { initialTensor } from '../lib/models/init.ts';
import { type Preset, loadPreset } from '../lib/models/preset.ts';
import {
  type VariantName,
  isLabelVariant,
  variantNames,
  variantParameters,
} from '../lib/models/variants.ts';
import type { Tensor } from '../lib/graph/types.ts';
import { type Backend, type Session, createBackend } from '../lib/runtime/backend.ts';
import { createGenerator } from '../lib/runtime/decode/generator.ts';
import { parseDecodingOptions } from '../lib/releases/decoding.ts';
import { trainUnigram, trainWordPiece } from '../lib/text/tokenizer.ts';
import { type Manifest, releaseFiles } from '../lib/releases/manifest.ts';
import { type ReleaseDescription, writeRelease } from '../lib/releases/write.ts';
import { print } from './support/measure.ts';
import { randomImage } from './support/vision.ts';

const seed = 1;
const tokens = 32;

const megabytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MB`;
const resident = (): string => megabytes(process.memoryUsage().rss);

/** Runs a stage and prints how long it took, what it did and what the process holds after it. */
async function stage<T>(
  title: string,
  work: () => Promise<T>,
  say: (result: T, ms: number) => string = () => '',
): Promise<T> {
  const start = performance.now();
  const result = await work();
  const ms = performance.now() - start;
  const what = say(result, ms);
  print(
    `  ${title.padEnd(28)} ${ms.toFixed(0).padStart(7)} ms  memory ${resident().padStart(7)}  ${what}`,
  );
  return result;
}

/** A release of initial weights: what training would write, without training. */
function writeInitial(folder: string, variant: VariantName, preset: Preset): Promise<Manifest> {
  const corpus = ['findings: clear lungs.', 'impression: no acute process.'];
  const every = <T>(value: T): T[] => Array.from({ length: 14 }, () => value);
  const specs = new Map(variantParameters(variant, preset).map((spec) => [spec.name, spec]));
  const description: ReleaseDescription = {
    variant,
    preset,
    tokenizers: { encoder: trainWordPiece(corpus, 200), decoder: trainUnigram(corpus, 200) },
    preprocessing: {
      height: preset.imageSize,
      width: preset.imageSize,
      resize: 'contain',
      pad: 0,
      kernel: 'cubic',
      ...imagenet,
    },
    labels: { thresholds: every(0.5), temperatures: every(1) },
    outOfDistribution: null,
    decoding: parseDecodingOptions({ maxTokens: preset.maxReportTokens }),
    quantization: 'none',
    provenance: {
      createdAt: new Date(0).toISOString(),
      dataset: { name: 'none', fingerprint: 'none', studies: {} },
      config: {},
      codeVersion: 'bench',
      parent: null,
      seed,
      durationS: 0,
    },
    evaluation: {},
  };
  return writeRelease(folder, description, (name) => {
    const spec = specs.get(name);
    return spec && initialTensor(spec, seed);
  });
}

async function sizeOf(folder: string): Promise<number> {
  const sizes = await Promise.all(
    releaseFiles.map(async (name) => (await stat(join(folder, name))).size),
  );
  return sizes.reduce((a, b) => a + b, 0);
}

const rate = (flops: number, ms: number): string =>
  `${(flops / 1e9).toPrecision(3)} GFLOP, ${(flops / ms / 1e6).toFixed(0)} GFLOP/s`;

/** Vision, then the labels: gives the tokens that the encoder reads. */
async function seeImage(
  backend: Backend,
  folder: string,
  preset: Preset,
  flops: number,
): Promise<Tensor> {
  const load = (name: string): Promise<Session> => backend.load(join(folder, `${name}.onnx`));
  const vision = await stage('load vision', () => load('vision'));
  const labeler = await stage('load labeler', () => load('labeler'));
  const image = randomImage(preset.imageSize);
  await stage('vision, first image', () => vision.run({ image }));
  const { fetched } = await stage(
    'vision, second image',
    () => vision.run({ image }),
    (_, ms) => rate(flops, ms),
  );
  const { tokens: seen, pooled } = fetched as { tokens: Tensor; pooled: Tensor };
  const { fetched: labels } = await stage('labeler', () => labeler.run({ pooled }));
  if (labels['logits']?.data.length !== 14) throw new Error('the labeler gave no 14 logits');
  await vision.dispose();
  await labeler.dispose();
  return { ...seen, shape: seen.shape.slice(1) };
}

async function measure(variant: VariantName, presetName: string): Promise<void> {
  const preset = loadPreset(presetName);
  const folder = await mkdtemp(join(tmpdir(), 'radscribe-paper-'));
  const backend = await createBackend();
  try {
    const { total } = countParameters(variant, preset);
    const flops = countFlops(variant, preset);
    print(`${variant}, preset ${preset.name}: ${total.toLocaleString('en-US')} parameters`);
    await stage(
      'build, initialize, save',
      () => writeInitial(join(folder, 'release'), variant, preset),
      ({ id }) => id,
    );
    print(`  ${megabytes(await sizeOf(join(folder, 'release')))} on disk`);
    const seen = await seeImage(backend, join(folder, 'release'), preset, flops.vision);
    const generator = await stage('load encoder and decoder', () =>
      createGenerator({ backend, folder: join(folder, 'release'), preset, eos: -1 }),
    );
    const options = parseDecodingOptions({ maxTokens: tokens });
    const textIds = isLabelVariant(variant) ? [5, 6, 7, 8] : [];
    const request = { tokens: seen, textIds };
    await stage('encoder, token (first run)', () =>
      generator.generate(request, parseDecodingOptions({ maxTokens: 1 })),
    );
    await stage(
      `encoder, ${tokens} tokens`,
      () => generator.generate(request, options),
      ({ ids, timings: { prefillMs, decodeMs } }) =>
        `encoder ${prefillMs.toFixed(0)} ms, ${(decodeMs / ids.length).toFixed(1)} ms a token`,
    );
    await generator.dispose();
    const peak = process.resourceUsage().maxRSS * 1024;
    print(`  peak memory ${megabytes(peak)}`);
  } finally {
    await backend.dispose();
    await rm(folder, { recursive: true });
  }
}

/**
 * `npm run bench -- paper [--preset NAME] [VARIANT ...]`: each variant from nothing to a report on this
 * machine: built, initialized, saved as a release, loaded and run; a process each, so that its memory
 * is its own.
 */
export async function run(args: string[]): Promise<void> {
  const at = args.indexOf('--preset');
  const preset = at < 0 ? 'paper' : (args[at + 1] ?? '');
  const names = args.filter((_, i) => at < 0 || (i !== at && i !== at + 1));
  if (names[0] === '--here') return measure(names[1] as VariantName, preset);
  const known: readonly string[] = variantNames;
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new RangeError(`no variant ${unknown}; there are ${known.join(', ')}`);
  }
  for (const name of names.length > 0 ? names : known) {
    const main = new URL('main.ts', import.meta.url);
    const child = fork(main, ['paper', '--preset', preset, '--here', name]);
    const [code] = (await once(child, 'exit')) as [number | null];
    if (code !== 0) throw new Error(`${name} ended with ${code}`);
  }
}
