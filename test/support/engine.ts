import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import type { Dtype, Tensor } from '../../lib/graph/types.ts';
import { type Graph, type Value, constantOf } from '../../lib/graph/value.ts';
import { type EmitOptions, emitModel } from '../../lib/onnx/emit.ts';

/**
 * The shortest way from a graph to its numbers, for tests of graphs: a session on the calling thread.
 * What serves and trains goes through lib/runtime instead.
 */
export interface TestSession {
  run(feeds: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>>;
  release(): Promise<void>;
}

export interface TestOptions {
  readonly threads?: number;
  readonly level?: 'disabled' | 'basic' | 'extended' | 'all';
  readonly weights?: EmitOptions['weights'];
}

export async function compile(graph: Graph, options: TestOptions = {}): Promise<TestSession> {
  const { weights } = options;
  const model = emitModel(graph, weights ? { name: 'test', weights } : { name: 'test' });
  const session = await InferenceSession.create(model, {
    intraOpNumThreads: options.threads ?? 1,
    graphOptimizationLevel: options.level ?? 'all',
    logSeverityLevel: 3,
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  });
  return {
    async run(feeds) {
      const given = Object.entries(feeds).map(([name, { dtype, shape, data }]) => [
        name,
        new OrtTensor(dtype as 'float32', data as Float32Array, shape),
      ]);
      const results = await session.run(Object.fromEntries(given) as Record<string, OrtTensor>);
      return Object.fromEntries(
        Object.entries(results).map(([name, { type, dims, data }]) => [
          name,
          { dtype: type as Dtype, shape: dims, data: data as Float32Array },
        ]),
      );
    },
    release: () => session.release(),
  };
}

/** Runs a graph once. */
export async function runGraph(
  graph: Graph,
  feeds: Readonly<Record<string, Tensor>>,
  options?: TestOptions,
): Promise<Record<string, Tensor>> {
  const session = await compile(graph, options);
  try {
    return await session.run(feeds);
  } finally {
    await session.release();
  }
}

/** A tensor from plain numbers. */
export function tensor(
  values: readonly number[],
  shape: readonly number[],
  dtype: Dtype = 'float32',
): Tensor {
  const { source } = constantOf(values, dtype, shape);
  if (source.kind !== 'constant') throw new TypeError('a constant is a constant');
  return { dtype, shape, data: source.data };
}

export const numbers = (value: Tensor | undefined): number[] =>
  Array.from(value?.data ?? [], Number);

/** Deterministic uniform numbers in [-1, 1) (mulberry32). */
export function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 31 - 1;
  };
}

export const graphOf = (
  inputs: readonly Value[],
  outputs: Readonly<Record<string, Value>>,
): Graph => ({
  inputs,
  outputs: Object.entries(outputs).map(([name, value]) => ({ name, value })),
});
