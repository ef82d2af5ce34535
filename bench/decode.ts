import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { o } from '../lib/graph/build.ts';
import { optimize } from '../lib/graph/passes.ts';
import { quantizeWeights } from '../lib/graph/quantize.ts';
import { type Graph, type Value, input, parameter } from '../lib/graph/value.ts';
import { ParameterSet } from '../lib/models/parameters.ts';
import { loadPreset } from '../lib/models/preset.ts';
import { decoderStepGraph } from '../lib/models/t5-step.ts';
import { emitModel } from '../lib/onnx/emit.ts';
import { type Backend, createBackend } from '../lib/runtime/backend.ts';
import { type RunningBatch, loadBatch } from '../lib/runtime/decode/batch.ts';
import type { Memory } from '../lib/runtime/decode/cache.ts';
import { parseDecodingOptions } from '../lib/releases/decoding.ts';
import { createSearch } from '../lib/runtime/decode/create-search.ts';
import { type TensorSource, writeSafetensors } from '../lib/safetensors/safetensors.ts';
import { interleaved, median, print, ratioOf } from './support/measure.ts';

const { t5 } = loadPreset('paper');
/** 256 image tokens, the special ones, and a text. */
const memoryTokens = 300;
const batch = 8;
/** Steps before those that are timed, so that there is a cache to read. */
const firstTokens = 48;
const targets = { float32: 1.5, int8: 1.9, throughput: 3 } as const;
type Kind = 'float32' | 'int8';

/** Values that cost nothing to make, and nothing in which one would be faster than in any other. */
const filled = (size: number, at: (i: number) => number): Float32Array => {
  const data = new Float32Array(size);
  for (let i = 0; i < size; i++) data[i] = at(i);
  return data;
};
const noise = (i: number): number => ((Math.imul(i, 0x9e3779b1) >>> 8) / 2 ** 24 - 0.5) * 0.1;

interface Stored {
  readonly graph: Graph;
  readonly sources: readonly TensorSource[];
  readonly bytes: number;
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((size, dim) => size * dim, 1);

function decoderOf(kind: Kind): Stored {
  const set = new ParameterSet();
  const plain = optimize(decoderStepGraph(set, t5));
  const { graph, weights } =
    kind === 'int8' ? quantizeWeights(plain) : { graph: plain, weights: [] };
  const quantized = new Map(weights.map((weight) => [weight.name, weight]));
  const sources = set.specs.flatMap(({ name, shape }): TensorSource[] => {
    const weight = quantized.get(name);
    const size = sizeOf(shape);
    const [rows = 1] = shape;
    if (!weight) return [{ name, dtype: 'float32', shape, data: () => filled(size, noise) }];
    const { blockSize, codes, scales } = weight;
    const blocks = size / rows / blockSize;
    const data = (): Uint8Array =>
      Uint8Array.from({ length: size }, (_, i) => 128 + noise(i) * 2e3);
    return [
      { name: codes, dtype: 'uint8', shape: [rows, blocks, blockSize], data },
      {
        name: scales,
        dtype: 'float32',
        shape: [rows, blocks],
        data: () => filled(rows * blocks, () => 5e-4),
      },
    ];
  });
  const bytes = sources.reduce(
    (sum, { dtype, shape }) => sum + sizeOf(shape) * (dtype === 'uint8' ? 1 : 4),
    0,
  );
  return { graph, sources, bytes };
}

async function loadDecoder(
  backend: Backend,
  folder: string,
  kind: Kind,
): Promise<{ readonly running: RunningBatch; readonly bytes: number }> {
  const { graph, sources, bytes } = decoderOf(kind);
  const location = `${kind}.safetensors`;
  const infos = await writeSafetensors(join(folder, location), sources);
  const weights = (name: string) => {
    const info = infos.get(name);
    return info && { location, byteOffset: info.byteOffset, byteLength: info.byteLength };
  };
  const path = join(folder, `${kind}.onnx`);
  await writeFile(path, emitModel(graph, { name: kind, weights }));
  return { running: await loadBatch(backend, path, false), bytes };
}

/** Replaces an encoder run: cross-attention of one request, made inside the backend. */
async function memoryMaker(
  backend: Backend,
  names: readonly string[],
): Promise<() => Promise<Memory>> {
  const x = input('x', 'float32', [1]);
  const outputs = names.map((name) => {
    const slots = name.endsWith('key') ? [t5.dKv, memoryTokens] : [memoryTokens, t5.dKv];
    return { name, value: o.Expand(x, [1, t5.heads, ...slots]) };
  });
  const model = emitModel({ inputs: [x], outputs }, { name: 'memory' });
  const session = await backend.load(model, { keep: names });
  const feeds = { x: { dtype: 'float32', shape: [1], data: Float32Array.of(0.01) } } as const;
  return async () => {
    const { kept } = await session.run(feeds);
    return { caches: kept, bias: new Float32Array(memoryTokens) };
  };
}

/**
 * What a machine can read at best through ONNX Runtime: one row through a chain of square float32
 * layers, as many bytes as the decoder's weights.
 */
async function readCeiling(
  backend: Backend,
): Promise<{ readonly bytes: number; run(): Promise<unknown> }> {
  const [size, layers] = [2048, 28];
  const weight = filled(size * size, () => 1 / size);
  const x = input('x', 'float32', [1, size]);
  let y: Value = x;
  for (let i = 0; i < layers; i++) {
    y = o.Gemm(y, parameter(`weight${i}`, [size, size]), { transB: true });
  }
  const graph = { inputs: [x], outputs: [{ name: 'y', value: o.ReduceMax(y) }] };
  const weights = (): Uint8Array => new Uint8Array(weight.buffer);
  const session = await backend.load(emitModel(graph, { name: 'ceiling', weights }));
  const data = filled(size, () => 1);
  return {
    bytes: layers * weight.byteLength,
    run: () => session.run({ x: { dtype: 'float32', shape: [1, size], data } }),
  };
}

/** Keys and values of `rows` requests that a step reads: all of memory, and the tokens so far. */
const cacheBytes = (rows: number, tokens: number): number =>
  rows * t5.layers * 2 * t5.heads * (memoryTokens + tokens) * t5.dKv * 4;

async function grow(
  running: RunningBatch,
  rows: number,
  memory: () => Promise<Memory>,
): Promise<void> {
  const options = parseDecodingOptions({ maxTokens: 10_000 });
  while (running.members.length < rows) {
    const search = createSearch({ options, start: 0, eos: -1, onToken: () => {} });
    await running.join(await memory(), search, 0);
  }
  for (let i = 0; i < firstTokens; i++) await running.step();
}

const ms = (value: number): string => value.toFixed(1).padStart(8);
const least = (values: readonly number[]): number => Math.min(...values);

/** `npm run bench -- decode [rounds]`: decoding at the paper's size. */
export async function run([given = '24']: string[]): Promise<void> {
  const rounds = Number(given);
  const folder = await mkdtemp(join(tmpdir(), 'radscribe-bench-'));
  const backend = await createBackend();
  try {
    const decoders = {
      float32: await loadDecoder(backend, folder, 'float32'),
      int8: await loadDecoder(backend, folder, 'int8'),
    };
    const memory = await memoryMaker(backend, decoders.float32.running.crossNames);
    const ceiling = await readCeiling(backend);
    print(
      `decoding at the paper's size, memory of ${memoryTokens} tokens; medians of ${rounds} steps`,
    );
    print(
      'limit: the bytes that a step must read, at the speed of the read ceiling in the same round',
    );
    print('');
    print(
      'weights   rows  ms a step     least   MB read  GB/s of ceiling   of the limit   least  target',
    );
    const perStep: Record<string, readonly number[]> = {};
    for (const rows of [1, batch]) {
      for (const { running } of Object.values(decoders)) await grow(running, rows, memory);
      const times = await interleaved(
        {
          ceiling: () => ceiling.run(),
          float32: () => decoders.float32.running.step(),
          int8: () => decoders.int8.running.step(),
        },
        rounds,
      );
      for (const kind of ['float32', 'int8'] as const) {
        const bytes = decoders[kind].bytes + cacheBytes(rows, firstTokens + rounds / 2);
        const limits = times.ceiling.map((time) => (time * bytes) / ceiling.bytes);
        const ratio = ratioOf(times[kind], limits);
        const read = ceiling.bytes / 1e6 / median(times.ceiling);
        // On a machine with other work the least times are those that were disturbed least.
        const leastRatio = least(times[kind]) / least(limits);
        perStep[`${kind}${rows}`] = times[kind];
        const target =
          rows === 1 ? `<= ${targets[kind]} ${ratio <= targets[kind] ? 'met' : 'missed'}` : '';
        print(
          `${kind.padEnd(9)}${String(rows).padStart(5)} ${ms(median(times[kind]))}  ${ms(least(times[kind]))}` +
            `${(bytes / 1e6).toFixed(0).padStart(10)} ${read.toFixed(1).padStart(12)}     ` +
            `${ratio.toFixed(2).padStart(12)}x ${leastRatio.toFixed(2).padStart(6)}x  ${target}`,
        );
      }
    }
    for (const kind of ['float32', 'int8'] as const) {
      const [one, many] = [perStep[`${kind}1`] ?? [], perStep[`${kind}${batch}`] ?? []];
      const gain = (batch * median(one)) / median(many);
      const leastGain = (batch * least(one)) / least(many);
      const verdict = gain >= targets.throughput ? 'met' : 'missed';
      print(
        `${kind}: ${batch} rows give ${gain.toFixed(2)}x the tokens a second of one ` +
          `(by least times ${leastGain.toFixed(2)}x), target >= ${targets.throughput} ${verdict}`,
      );
    }
  } finally {
    await backend.dispose();
    await rm(folder, { recursive: true });
  }
}
