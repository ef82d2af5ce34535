import { o } from '../../lib/graph/build.ts';
import { input } from '../../lib/graph/value.ts';
import { emitModel } from '../../lib/onnx/emit.ts';
import type { Backend } from '../../lib/runtime/backend.ts';

const size = 1024;
const products = 12;

/**
 * What a machine can do at best through ONNX Runtime: a chain of large square float32 matrix products.
 * `run` does `flops` operations and gives back next to nothing.
 */
export async function matMulCeiling(
  backend: Backend,
): Promise<{ readonly flops: number; run(): Promise<unknown>; dispose(): Promise<void> }> {
  const a = input('a', 'float32', [size, size]);
  let y = a;
  for (let i = 0; i < products; i++) y = o.MatMul(y, a);
  const graph = { inputs: [a], outputs: [{ name: 'sum', value: o.ReduceMax(y) }] };
  const session = await backend.load(emitModel(graph, { name: 'ceiling' }));
  // Powers of this matrix neither vanish nor overflow; denormals would be slow.
  const data = new Float32Array(size * size).fill(1 / size);
  return {
    flops: products * 2 * size ** 3,
    run: () => session.run({ a: { dtype: 'float32', shape: [size, size], data } }),
    dispose: () => session.dispose(),
  };
}
