import { fork } from 'node:child_process';
import { once } from 'node:events';
import { o } from '../lib/graph/build.ts';
import { flopsOf } from '../lib/graph/flops.ts';
import { meanSquaredError } from '../lib/graph/losses.ts';
import { adamw } from '../lib/graph/optimizer.ts';
import { trainingProgram } from '../lib/graph/program.ts';
import { constantSchedule } from '../lib/graph/schedule.ts';
import type { Tensor } from '../lib/graph/types.ts';
import type { Value } from '../lib/graph/value.ts';
import { bertLayers } from '../lib/models/bert.ts';
import { denseBlock } from '../lib/models/densenet.ts';
import { Dropouts } from '../lib/models/mode.ts';
import { ParameterSet, type Scope } from '../lib/models/parameters.ts';
import { residualStage } from '../lib/models/resnet.ts';
import { emitModel } from '../lib/onnx/emit.ts';
import { type Provider, createBackend } from '../lib/runtime/backend.ts';
import { matMulCeiling } from './support/ceiling.ts';
import { interleaved, median, print, ratioOf } from './support/measure.ts';

interface Case {
  readonly title: string;
  readonly aim: number;
  /** Of one micro-batch. */
  readonly shape: readonly number[];
  readonly build: (scope: Scope, x: Value) => Value;
}

const cases: Readonly<Record<string, Case>> = {
  transformer: {
    title: 'transformer block, d 768, 12 heads, 1024 tokens',
    aim: 0.8,
    shape: [1, 1024, 768],
    build: (scope, x) => {
      const config = { hidden: 768, layers: 1, heads: 12, intermediate: 3072 };
      return bertLayers(
        scope,
        x,
        { ...config, vocabulary: 1, positions: 1 },
        undefined,
        new Dropouts(undefined),
      );
    },
  },
  densenet: {
    title: 'DenseNet121 block 3 (8 of its 24 layers), 256 channels, 32 x 32, batch 2',
    aim: 0.55,
    shape: [2, 256, 32, 32],
    build: (scope, x) => denseBlock(scope, x, 8, { growth: 32, bottleneck: 4 }),
  },
  resnet: {
    title:
      'ResNet101 layer3 (3 of its 23 blocks), 512 -> 1024 channels, 64 x 64 -> 32 x 32, batch 2',
    aim: 0.55,
    shape: [2, 512, 64, 64],
    build: (scope, x) => residualStage(scope, x, { blocks: 3, width: 256, stride: 2 }),
  },
};
/** A step as the paper trains: gradients of eight micro-batches, then AdamW. */
const accumulation = 8;
const rounds = 5;

/** Deterministic uniform numbers in [-scale, scale). */
function filled(size: number, scale: number): Float32Array<ArrayBuffer> {
  let state = 1;
  return Float32Array.from({ length: size }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 31 - 1) * scale;
  });
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
const ones = (shape: readonly number[]): Float32Array<ArrayBuffer> =>
  new Float32Array(sizeOf(shape)).fill(1);

/** Trains one case in this process: forward, backward and AdamW, as the trainer does it. */
async function measure(name: string, provider: Provider): Promise<void> {
  const { title, aim, shape, build } = cases[name] as Case;
  const parameters = new ParameterSet();
  const forward = (x: Value): Value => {
    const y = build(parameters, x);
    return meanSquaredError(y, o.full([], 0.5, 'float32'));
  };
  // Once for its parameters, which training feeds.
  const probe = { dtype: 'float32', shape, source: { kind: 'input', name: 'x' } } as const;
  const forwardFlops = flopsOf({
    inputs: [probe],
    outputs: [{ name: 'loss', value: forward(probe) }],
  });
  const trainable = parameters.specs.filter(({ isBuffer }) => !isBuffer);
  const frozen = parameters.specs.filter(({ isBuffer }) => isBuffer);
  const program = trainingProgram({
    inputs: { x: { dtype: 'float32', shape } },
    forward: ({ x }) => ({ loss: forward(x as Value) }),
    trainable: trainable.map(({ value }) => value),
    accumulation,
    optimizer: adamw({ learningRate: () => constantSchedule(1e-5), maxNorm: 1 }),
  });
  const backend = await createBackend({ provider });
  try {
    const ceiling = await matMulCeiling(backend);
    const bytes = new Map(
      frozen.map(({ name, shape }) => [
        name,
        new Uint8Array(
          (name.endsWith('running_var') ? ones(shape) : filled(sizeOf(shape), 0)).buffer,
        ),
      ]),
    );
    const session = await backend.load(
      emitModel(program.graph, { name, weights: (parameter) => bytes.get(parameter) }),
    );
    const scale = new Map(
      trainable.map(({ name, shape }) => [name, Math.sqrt(3 / sizeOf(shape.slice(1)))]),
    );
    const feeds: Record<string, Tensor> = {
      steps: { dtype: 'int64', shape: [], data: BigInt64Array.of(1n) },
      seed: { dtype: 'uint32', shape: [], data: Uint32Array.of(1) },
      x: {
        dtype: 'float32',
        shape: [accumulation, ...shape],
        data: filled(accumulation * sizeOf(shape), 1),
      },
    };
    for (const { name, dtype, shape, initial } of program.carried) {
      const data =
        dtype === 'int64'
          ? BigInt64Array.of(BigInt(initial ?? 0))
          : initial === undefined
            ? filled(sizeOf(shape), shape.length > 1 ? (scale.get(name) ?? 1) : 1)
            : new Float32Array(sizeOf(shape)).fill(initial);
      feeds[name] = { dtype, shape, data };
    }
    const step = (): Promise<unknown> => session.run(feeds, { fetch: ['losses'] });
    const times = await interleaved({ step, ceiling: () => ceiling.run() }, rounds);
    const flops = flopsOf(program.graph, { trips: 1 });
    const rate = (work: number, ms: number): number => work / ms / 1e6;
    const ratio = flops / ceiling.flops / ratioOf(times.step, times.ceiling);
    const peak = process.resourceUsage().maxRSS / 1024;
    print(
      `${title}\n` +
        `  ${(median(times.step) / accumulation).toFixed(0)} ms a micro-batch, ` +
        `${rate(flops, median(times.step)).toFixed(0)} GFLOP/s, ` +
        `MatMul ${rate(ceiling.flops, median(times.ceiling)).toFixed(0)} GFLOP/s: ` +
        `ratio ${ratio.toFixed(2)} (aim ${aim.toFixed(2)}); ` +
        `${(flops / accumulation / forwardFlops).toFixed(2)} x the forward work; ` +
        `peak memory ${peak.toFixed(0)} MB`,
    );
  } finally {
    await backend.dispose();
  }
}

/**
 * `npm run bench -- engine [--provider NAME] [CASE ...]`: training steps (forward, backward, AdamW) in
 * GFLOP/s as a ratio to ONNX Runtime's own MatMul, measured in turn. Each case has a process of its
 * own, so that its peak memory is its own.
 */
export async function run(args: string[]): Promise<void> {
  const at = args.indexOf('--provider');
  const provider = (at < 0 ? 'cpu' : args[at + 1]) as Provider;
  const names = args.filter((_, i) => at < 0 || (i !== at && i !== at + 1));
  if (names[0] === '--here') return measure(names[1] as string, provider);
  const unknown = names.find((name) => !Object.hasOwn(cases, name));
  if (unknown !== undefined) {
    throw new RangeError(`no case ${unknown}; there are ${Object.keys(cases).join(', ')}`);
  }
  for (const name of names.length > 0 ? names : Object.keys(cases)) {
    const main = new URL('main.ts', import.meta.url);
    const child = fork(main, ['engine', '--here', name, '--provider', provider]);
    const [code] = (await once(child, 'exit')) as [number | null];
    if (code !== 0) throw new Error(`${name} ended with ${code}`);
  }
}
