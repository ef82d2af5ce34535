import { fork } from 'node:child_process';
import { once } from 'node:events';
import { loadPreset } from '../lib/models/preset.ts';
import type { VariantName } from '../lib/models/variants.ts';
import { createBackend } from '../lib/runtime/backend.ts';
import { matMulCeiling } from './support/ceiling.ts';
import { interleaved, median, print, ratioOf } from './support/measure.ts';
import { loadVision, randomImage } from './support/vision.ts';

const aim = 0.85;
const rounds = 7;
const backbones = ['chexnet', 'resnet101', 'vit'] as const;

/** Milliseconds of processor time that `work` takes in this process, over all its threads. */
async function processorTime(work: () => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  return process.cpuUsage(before).user / 1000;
}

/**
 * One image through a backbone, in turn with ONNX Runtime's own matrix product. Wall time is what a
 * caller waits for; processor time is what a busy machine does not falsify.
 */
async function measure(variant: VariantName): Promise<void> {
  const preset = loadPreset('paper');
  const backend = await createBackend();
  try {
    const ceiling = await matMulCeiling(backend);
    const vision = await loadVision(backend, variant, preset);
    const image = randomImage(preset.imageSize);
    const used = { image: [] as number[], ceiling: [] as number[] };
    const works = {
      image: async () => {
        const work = () => vision.session.run({ image }, { fetch: ['pooled'] });
        used.image.push(await processorTime(work));
      },
      ceiling: async () => {
        used.ceiling.push(await processorTime(() => ceiling.run()));
      },
    };
    const times = await interleaved(works, rounds);
    await vision.dispose();
    const rate = (flops: number, ms: readonly number[]): string =>
      (flops / median(ms) / 1e6).toFixed(0);
    const ratio = ({ image, ceiling: best }: typeof times): string =>
      (vision.flops / ceiling.flops / ratioOf(image, best)).toFixed(2);
    // The first round, which is not timed, is not counted either.
    const processor = { image: used.image.slice(1), ceiling: used.ceiling.slice(1) };
    print(
      `${variant.padEnd(10)} ${preset.imageSize} x ${preset.imageSize}: ` +
        `${median(times.image).toFixed(0).padStart(5)} ms an image, ` +
        `${rate(vision.flops, times.image)} GFLOP/s, ` +
        `MatMul ${rate(ceiling.flops, times.ceiling)} GFLOP/s: ` +
        `ratio ${ratio(times)}, of processor time ${ratio(processor)} (aim ${aim.toFixed(2)})`,
    );
  } finally {
    await backend.dispose();
  }
}

/**
 * `npm run bench -- models [NAME ...]`: milliseconds an image of each backbone at the paper's size, and
 * its GFLOP/s as a ratio to ONNX Runtime's own MatMul, measured in turn; then `decode`, which is
 * bench/decode.ts. A process each.
 */
export async function run(args: string[]): Promise<void> {
  if (args[0] === '--here') return measure(args[1] as VariantName);
  const known: readonly string[] = [...backbones, 'decode'];
  const unknown = args.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new RangeError(`no part ${unknown}; there are ${known.join(', ')}`);
  }
  for (const name of args.length > 0 ? args : known) {
    const call = name === 'decode' ? ['decode'] : ['models', '--here', name];
    const child = fork(new URL('main.ts', import.meta.url), call);
    const [code] = (await once(child, 'exit')) as [number | null];
    if (code !== 0) throw new Error(`${name} ended with ${code}`);
  }
}
